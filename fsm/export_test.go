package fsm

// Unchecked is how many stages of the check of a staged restore are left; -1 while it has not begun.
func (s *State) Unchecked() int {
	if s.staged.loading.checker == nil {
		return -1
	}
	return len(s.staged.loading.checker.stages)
}
