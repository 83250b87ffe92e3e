// Package route tells members where others are to be found: on first contact, when they ask, and when it changes, never per message.
//
// A Table belongs to one leadership term. It holds who is interested in whose place and what they were told last; the addresses
// themselves are in the state, and are read again whenever somebody may have to be told. Who is interested is what the members'
// sessions say, so a new leader has nothing to inherit: with its first message each session says whom it knows, and as what. What a
// member is interested in is forgotten with its session, and how much that can be is bounded.
package route
