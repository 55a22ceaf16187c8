package overlay

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// speaker is a BGP speaker that announces one subnet, and remembers what it
// hears.
type speaker struct {
	bgp    *server.BgpServer
	ip     netip.Addr
	asn    uint32
	news   func()
	cancel context.CancelFunc
	door   chan<- net.Conn

	mu      sync.Mutex
	heard   heard
	callers map[netip.Addr]*caller // by the peers that this one calls
}

// heard is what a speaker knows: with whom it has sessions, and the subnets
// that they announced or withdrew.
type heard struct {
	sessions  map[netip.Addr]netip.Prefix
	routes    map[netip.Prefix]netip.Addr // the next hop
	withdrawn map[netip.Prefix]bool
}

// Times of the protocol. A restart that takes longer than restartTime loses
// its routes; deferral bounds how long one that was restarted waits for peers
// before it announces.
const (
	bgpPort      = 179
	restartTime  = 120 * time.Second
	deferralTime = 3 * time.Second
)

func newSpeaker(ctx context.Context, ip, id netip.Addr, asn uint32, subnet netip.Prefix, news func()) (*speaker, error) {
	quiet := &slog.LevelVar{}
	quiet.Set(slog.LevelWarn)
	s := &speaker{ip: ip, asn: asn, news: news, callers: map[netip.Addr]*caller{}, heard: heard{
		sessions: map[netip.Addr]netip.Prefix{}, routes: map[netip.Prefix]netip.Addr{}, withdrawn: map[netip.Prefix]bool{}}}
	s.bgp = server.NewBgpServer(server.LoggerOption(slog.New(slog.DiscardHandler), quiet))
	go s.bgp.Serve()
	err := s.bgp.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: asn, RouterId: id.String(), ListenPort: bgpPort, ListenAddresses: []string{ip.String()},
	}})
	if err == nil {
		s.door, err = doorOf(s.bgp)
	}
	if err == nil {
		err = s.announce(subnet.Masked())
	}
	if err == nil {
		err = s.listen()
	}
	if err != nil {
		s.bgp.Stop()
		return nil, err
	}
	return s, nil
}

func (s *speaker) announce(subnet netip.Prefix) error {
	nlri, err := bgp.NewIPAddrPrefix(subnet)
	if err != nil {
		return err
	}
	family, hop := bgp.RF_IPv4_UC, bgp.PathAttributeInterface(nil)
	if s.ip.Is6() {
		family = bgp.RF_IPv6_UC
		hop, err = bgp.NewPathAttributeMpReachNLRI(family, []bgp.PathNLRI{{NLRI: nlri}}, netip.IPv6Unspecified())
	} else {
		hop, err = bgp.NewPathAttributeNextHop(netip.IPv4Unspecified())
	}
	if err != nil {
		return err
	}
	_, err = s.bgp.AddPath(apiutil.AddPathRequest{Paths: []*apiutil.Path{{
		Family: family, Nlri: nlri,
		Attrs: []bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(bgp.BGP_ORIGIN_ATTR_TYPE_IGP), hop},
	}}})
	return err
}

// listen remembers the best paths as they change, and has those called for
// whom the speaker waits.
func (s *speaker) listen() error {
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	return s.bgp.WatchEvent(ctx, server.WatchEventMessageCallbacks{
		OnBestPath:   func(paths []*apiutil.Path, _ time.Time) { s.hear(paths) },
		OnPeerUpdate: func(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) { s.turn(e.Peer.State) },
	}, server.WatchBestPath(true), server.WatchPeer())
}

// turn tells a caller what the session's state is.
func (s *speaker) turn(now apiutil.PeerState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.callers[now.NeighborAddress]; c != nil {
		c.state(now.SessionState == bgp.BGP_FSM_ACTIVE)
	}
}

func (s *speaker) hear(paths []*apiutil.Path) {
	s.mu.Lock()
	for _, p := range paths {
		subnet, err := netip.ParsePrefix(p.Nlri.String())
		via := nextHop(p)
		if err != nil || !p.Withdrawal && (!via.IsValid() || via.IsUnspecified() || via == s.ip) {
			continue // its own
		}
		if p.Withdrawal {
			delete(s.heard.routes, subnet)
			s.heard.withdrawn[subnet] = true
		} else {
			s.heard.routes[subnet] = via
			delete(s.heard.withdrawn, subnet)
		}
	}
	s.mu.Unlock()
	if s.news != nil {
		s.news()
	}
}

func nextHop(p *apiutil.Path) netip.Addr {
	for _, a := range p.Attrs {
		switch hop := a.(type) {
		case *bgp.PathAttributeNextHop:
			return hop.Value
		case *bgp.PathAttributeMpReachNLRI:
			return hop.Nexthop
		}
	}
	return netip.Addr{}
}

func (s *speaker) state() heard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return heard{maps.Clone(s.heard.sessions), maps.Clone(s.heard.routes), maps.Clone(s.heard.withdrawn)}
}

// add begins a session; restarted says that an earlier life had one. Of two
// speakers the one with the lower address connects. If both did at once, GoBGP
// could go on with one connection here and with the other one there, each of
// which then waits for a word until the hold time of 90 seconds is over. GoBGP
// itself is passive on both sides.
func (s *speaker) add(ctx context.Context, ip netip.Addr, subnet netip.Prefix, restarted bool) error {
	graceful := &api.GracefulRestart{
		Enabled: true, RestartTime: uint32(restartTime.Seconds()),
		DeferralTime: uint32(deferralTime.Seconds()), LocalRestarting: restarted,
	}
	afi := api.Family_AFI_IP
	if s.ip.Is6() {
		afi = api.Family_AFI_IP6
	}
	family := &api.AfiSafi{
		Config:            &api.AfiSafiConfig{Family: &api.Family{Afi: afi, Safi: api.Family_SAFI_UNICAST}, Enabled: true},
		MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}},
	}
	s.call(ip)
	err := s.bgp.AddPeer(ctx, &api.AddPeerRequest{Peer: &api.Peer{
		Conf:            &api.PeerConf{NeighborAddress: ip.String(), PeerAsn: s.asn},
		Transport:       &api.Transport{LocalAddress: s.ip.String(), PassiveMode: true},
		GracefulRestart: graceful, AfiSafis: []*api.AfiSafi{family},
	}})
	if err != nil {
		s.hangUp(ip)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard.sessions[ip] = subnet
	delete(s.heard.withdrawn, subnet)
	return nil
}

// call has a peer called from now on, if it is this one's part.
func (s *speaker) call(ip netip.Addr) {
	if s.ip.Less(ip) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.callers[ip] = newCaller(s.ip, ip, s.door)
	}
}

func (s *speaker) hangUp(ip netip.Addr) {
	s.mu.Lock()
	c := s.callers[ip]
	delete(s.callers, ip)
	s.mu.Unlock()
	if c != nil {
		c.close()
	}
}

func (s *speaker) remove(ctx context.Context, ip netip.Addr) error {
	s.hangUp(ip)
	if err := s.bgp.DeletePeer(ctx, &api.DeletePeerRequest{Address: ip.String()}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.heard.sessions, ip)
	return nil
}

func (s *speaker) stop(silent bool) error {
	for ip := range s.state().sessions {
		s.hangUp(ip)
	}
	s.cancel()
	err := s.bgp.StopBgp(context.Background(), &api.StopBgpRequest{AllowGracefulRestart: silent})
	s.bgp.Stop() // what StopBgp leaves
	return err
}
