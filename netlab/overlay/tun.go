package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/link"
)

// ErrNoTUN is the error where the kernel has no TUN devices.
var ErrNoTUN = errors.New("this kernel has no TUN devices (/dev/net/tun)")

// openTUN makes a TUN device in a namespace; it ends when the file is closed.
// (Documentation/networking/tuntap.rst.)
func openTUN(ctx context.Context, n *link.Net, name string) (*os.File, error) {
	var fd int
	began := time.Now()
	err := n.Do(func() error {
		var err error
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return fmt.Errorf("%w: %w", ErrNoTUN, err)
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("make the device %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	n.Ran(ctx, "ip tuntap add dev "+name+" mode tun", "ioctl", time.Since(began), 0)
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}
