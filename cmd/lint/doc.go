// Package lint holds, as tests over the source tree, the promises of Muster's design that a compiler does not keep: who may
// import whom (imports_test.go), that the state machine is pure (purity_test.go), that nothing logged, saved or hashed has a
// proto map (proto_test.go), that each promise of deploy/verification.md is held by a test that is there (verification_test.go), and
// that nothing in the tree points outside it (outside_test.go) or, in a page, at what is not there (readme_test.go). It has no code of
// its own. Each check also runs on snippets that break it, so that a check that has gone blind fails too.
//
// The checks read syntax, so a tree that does not compile is judged as far as it can be read.
package lint
