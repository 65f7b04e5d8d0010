package registry

// Between sets what is done between two slices of a pass, while no lock is held; nil:
// nothing. It is called before the registry is used by several goroutines.
func (r *Registry) Between(do func()) { r.between = do }

// EachPresent calls do with each instance that readers see, in slices.
func (r *Registry) EachPresent(do func(Key)) { r.eachPresent(func(e *entry) { do(e.key()) }) }
