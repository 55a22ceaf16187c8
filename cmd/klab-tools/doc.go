// Klab-tools is everything inside the image klab.local/tools:1: one static
// program that is a shell and some fifty small commands, chosen by the name it
// is called with.
//
//   - [applet]: one command, a row of the table in applets.go.
//   - [call]: one run of it: arguments and standard streams.
//   - [shell]: sh, around mvdan.cc/sh, with what a shell that is PID 1 needs.
//
// Start reading at main. Each applet runs in a process of its own, also when
// the shell starts it, so that ps, kill, exit codes and limits show what they
// would show in any other container.
//
// The size of this binary is the size of the image: no dependency enters it
// without a look at `make sizes`. Names are resolved with golang.org/x/net's
// message format, addresses and routes are read with the standard library's
// netlink. HTTP/2 in net/http (197 KB of the layer) is for the ingress controller,
// which is one of the commands too. The cluster's DNS server (netlab/dns, with miekg/dns) is one of the commands, so
// that the image klab.local/dns:1 is the same layer.
package main
