// Package trace follows a packet: through every link, rule, route and
// translation, there and back, in one ordered list with names. It needs no
// eBPF: sockets that see all links, nftables' own tracing, and questions to
// the kernel.
//
// The nouns: a [Space] is a network namespace that is looked into; a [Tracer]
// listens in all of them; an [Ask] is a packet that it is to send; what comes
// out is a [Capture], all that was seen and answered. Pure functions read
// it: [Assemble] makes the list of hops, and of a packet that was lost says
// where, why and by whose doing (the Reason constants); [Predict] says which way
// the configuration wants, and where the real one differs. Start with
// [Tracer.Follow]; [Tracer.Watch] is for packets that others send.
//
// A packet is known by a [Key] that outlives all translation: a TCP connection
// by its initial sequence number, which is ours to choose; a datagram by what
// it carries. Packets of IPv4 and IPv6 are followed alike.
//
// Guarantees: what a tap or a rule's event tells is observed, the rest of a
// hop list says that it is inferred. A probe leaves nothing: its connection is
// reset. A disarmed tracer costs other packets nothing, an armed one about a
// tenth of their latency. Spaces that come and go
// do not disturb the others.
//
// What cannot be seen: rules of iptables' legacy kind do not tell that they
// matched, and IPVS does not tell whom it sends a packet to; Notes say so, and
// it is inferred. Which rules of the legacy kind matched follows from their text,
// the packet, and how it came out of each hook; at a match that is not known
// the list says that it cannot say.
package trace
