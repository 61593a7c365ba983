package document

// TypeOf is typeOf.
var TypeOf = typeOf
