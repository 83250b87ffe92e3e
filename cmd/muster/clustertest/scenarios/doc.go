// Package scenarios plays the scenarios that the system before this one was tested with, and what its tests left open
// (TestScenario_Uncovered_…), through the public API against three nodes in virtual time.
//
// T1 to T11 are that system's own tests, the rest those of its neighbours: the agent within a proc, the mailboxes, the controller, the
// Python client. All times are ten times the original's; what reports does so five times in a lease. A world that is left to itself is
// evicted for real, which the original only promised, so the two scenarios that look at a dead world for long (T4, T5) switch that off. A
// world is Live when its own ranks are there, so where the original let rank 1 into a world of one proc, rank 0 joins. Hosts say that they
// are hosts, where the original told it by the first letters of a name.
// Where messages and addresses are all there is to a scenario, it is a test of package clustertest: T11, TestScenario_SystemJoin_…,
// TestScenario_ProcAddressUpdates and TestScenario_ProcUpdateAddressBookCache.
//
// These have nothing that they could be played with:
//
//	scenario                        why
//	channel dial count              how many connections a message costs is a property of the original's transport
//	spawn of an actor in a proc     the actors of a process are its own: Muster hears which of them failed, and how many stopped
//	snapshot of one proc's actors   the same; what Muster knows of a proc is in its View
//	grammar and order of names      held where they are made: TestParseRef, TestParse_Errors, TestCompare and TestIsPrefix of package
//	                                fsm/id; procs named by an address and gangs do not exist, names may have dashes
package scenarios
