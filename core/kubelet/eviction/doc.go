// Package eviction decides which pods a node ends when it runs out of something,
// as upstream's kubelet does. All of it is pure: what is read and what is done
// are others' work.
//
// The nouns: a [Signal] is something that can run out; a [Threshold] says how
// little of it is too little; an [Observation] is how much there is. [Watch]
// keeps what has to be remembered between two looks, and its Look says which
// conditions the node has and which threshold is to be defended. [Rank] orders
// pods, [Message] says why one went, and [OverLimit] finds pods that have
// written more than they may.
//
// (Kubernetes documentation, "Node-pressure Eviction".)
package eviction
