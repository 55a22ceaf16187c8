// Package registry is klab's own image registry and its nodes' way to all
// others.
//
//   - [Registry]: an http.Handler for the OCI distribution specification v1.1
//     that has the images klab.local/tools:1 and klab.local/pause:1 without
//     any network or disk, and takes pushes into a directory of bounded size.
//     It also stands in for any other registry whose images were loaded into it
//     by their official names ([Mirror] is the nodes' way to ask for them).
//   - [Client]: pushes, lists and removes what was loaded.
//   - [Image]: one built-in image; [Pack] makes its layer when klab is built.
//   - [Proxy]: a forward proxy (plain requests and CONNECT) through which node
//     agents, who have no way out of the lab, pull from any other registry.
//
// Start reading at [New]. What is pulled from here is pulled as from anywhere
// else: real HTTP, digests checked by the client.
package registry
