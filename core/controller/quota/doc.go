// Package quota counts what objects use up of a ResourceQuota. It is what the
// API server, which refuses, and the controller, which reports, have to agree
// on. Nothing in it asks anybody: begin at Usage and Matches.
//
// Behaviour: kubernetes.io/docs/concepts/policy/resource-quotas.
package quota
