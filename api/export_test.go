package api

// OperationLabels are all values of the label route.
func OperationLabels() []string {
	all := make([]string, 0, operations)
	for op := range operations {
		all = append(all, op.String())
	}
	return all
}
