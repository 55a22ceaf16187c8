// Package shim is the protocol between a node's runtime and klab-rt, the
// process that owns the node's containers: its nouns are Request, Response,
// State and Event; start at [Client].
//
// A call is one connection to a unix socket. Frames are a length of four bytes,
// big endian, and JSON; file descriptors travel with a frame's first byte
// (unix(7), SCM_RIGHTS). The caller sends one Request and gets one Response;
// for the verb "events" Events follow instead until the caller hangs up.
//
// The bundle of a container is the directory Root/c/ID. The caller puts
// config.json of the OCI runtime specification there before it asks for
// "create"; klab-rt keeps its own state beside it. Both sides know the
// directory by the same path.
//
// File descriptors of a request:
//
//	exec        stdin, stdout, stderr; with a terminal instead one end of a
//	            socket pair, to which the master of the terminal is sent
//	attach      stdin, stdout, stderr; without Stdin only the latter two
//
// Every verb but exec and attach may be repeated: what is done already is no
// error. So callers repeat a call that met a klab-rt which was just killed.
package shim
