package credential

// What the tests look at from inside: parsers of what programs answer.

func ReadHelperAnswer(out []byte) (Credential, bool, error) { return readHelperAnswer(out) }

func ReadProviderResponse(out []byte, image string) (Credential, bool, error) {
	return readProviderResponse(out, image, "fuzz")
}
