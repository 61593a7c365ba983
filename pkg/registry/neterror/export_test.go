package neterror

// Names lists the rows of the table.
func Names() []string {
	var names []string
	for _, row := range table() {
		names = append(names, row.name)
	}
	return names
}
