package fsm

import (
	"cmp"
	"iter"
	"maps"
	"slices"
)

// This file is the only place of this package that ranges over a map.

// sorted walks a map in ascending order of its keys.
func sorted[K cmp.Ordered, V any](m map[K]V) iter.Seq2[K, V] {
	keys := slices.Sorted(maps.Keys(m))
	return func(yield func(K, V) bool) {
		for _, k := range keys {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

// unsorted are the values of a map, for who sorts them or for whom their order makes no difference: behind those of list.
func unsorted[K comparable, V any](list []V, m map[K]V) []V {
	for _, v := range m {
		list = append(list, v)
	}
	return list
}

// unsortedKeys are the keys of a map, for whom their order makes no difference.
func unsortedKeys[K comparable, V any](m map[K]V) []K { return slices.Collect(maps.Keys(m)) }

// sortedMembers walks a map in order of (world, role, rank).
func sortedMembers[V any](m map[member]V) iter.Seq2[member, V] {
	keys := slices.SortedFunc(maps.Keys(m), member.compare)
	return func(yield func(member, V) bool) {
		for _, k := range keys {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
