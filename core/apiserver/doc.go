// Package apiserver is klab's API server: one request through named stages,
// and one change to many watchers.
//
// The nouns are [Server], the request with its stages (stages.go has them as
// data, in their order), the cacher, which watches one resource in the store
// for everybody, and the watcher, which delivers to one client. Start at
// [New], then stages.go.
//
// What may be relied on:
//
//   - The whole request is a step, each stage of it is one, and so is each
//     watch event to each watcher, before its bytes go out. Deliveries of one
//     watch keep their order while one of them is held.
//   - A commit is recorded before any delivery of it.
//   - A read without a resourceVersion sees every write that was answered.
//   - Nothing is global: several servers live in one process, and all of one
//     may live in a testing/synctest bubble together with a memory store.
//   - Close ends every goroutine that the server started.
//
// Behaviour follows the Kubernetes API concepts
// (https://kubernetes.io/docs/reference/using-api/api-concepts/) and, where
// they are silent, k8s.io/apiserver.
package apiserver
