// Package defects holds the system that this one replaces against its defects, which are numbered D1 to D83: one test each gives the
// input that broke it and shows what is answered here. Those of routing are tests of package clustertest, those of the keepers of
// programs of package hostagent. Those that cannot arise here are listed with the reason, and a test sees to it that none is forgotten.
package defects
