package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// The kernel gives nobody a port of this range who did not ask for it (they
// begin at 32768, see ip_local_port_range in ip-sysctl). So the one that a
// cluster's kubeconfig has stays free while no daemon listens there.
const firstPort, lastPort = 20000, 29999

// choosePort checks that port is free on loopback; 0 chooses one.
func choosePort(port int, kept bool) (int, error) {
	if port == 0 {
		for range 100 {
			if port := firstPort + rand.IntN(lastPort-firstPort+1); portFree(port) == nil {
				return port, nil
			}
		}
		return 0, fmt.Errorf("no port from %d to %d on 127.0.0.1 was found free: choose one with --port", firstPort, lastPort)
	}
	err := portFree(port)
	switch {
	case err == nil:
		return port, nil
	case !errors.Is(err, syscall.EADDRINUSE):
		return 0, fmt.Errorf("port %d cannot be the API server's: %w", port, err)
	case kept:
		return 0, fmt.Errorf("port %d on 127.0.0.1 is in use: it is the one that this cluster's kubeconfig has; end the program that uses it, or choose another one with --port", port)
	}
	return 0, fmt.Errorf("port %d on 127.0.0.1 is in use: choose another one with --port", port)
}

func portFree(port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return l.Close()
}
