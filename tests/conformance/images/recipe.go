package images

import (
	"path"

	"k8s.io/kubernetes/test/utils/image"
)

// An Image is what one image consists of.
type Image struct {
	// File is the name of the tar, Names what the tests call the image.
	File   string
	Names  []string
	Layers []Layer
	// What the image's configuration says.
	Entrypoint, Cmd []string
	User            string
}

// A Layer is one layer. Equal layers of several images are one blob.
type Layer struct {
	Name string
	// Packages are Debian packages, and Programs paths in them or in what they
	// depend on. Files are other files of the packages.
	Packages, Programs, Files []string
	// Applets gives every name that the static busybox answers to.
	Applets bool
	// Built has compiled programs by path, Copied files of the suite's module.
	Built  map[string]string
	Copied map[string]string
	// Links are symbolic links, Texts small files by path.
	Links, Texts map[string]string
	Dirs         []string
	// SetUID names programs that run as their owner.
	SetUID []string
}

// What is compiled: Go packages by their import path, and the pause program,
// which is C.
const (
	agnhost    = "k8s.io/kubernetes/test/images/agnhost"
	nonewprivs = "k8s.io/kubernetes/test/images/nonewprivs"
	pause      = "build/pause/linux/pause.c"
	shell      = "github.com/klab-project/klab/tests/conformance/images/sh"
)

// base is busybox, with bash for what its shell cannot do.
func base() Layer {
	return Layer{
		Name:     "base",
		Packages: []string{"busybox-static", "bash", "libc-bin"},
		Programs: []string{"bin/busybox", "bin/bash", "usr/bin/getent"},
		Applets:  true,
		Built:    map[string]string{"usr/bin/sh": shell},
		Dirs:     []string{"home", "mnt", "opt", "proc", "root", "run", "sys", "tmp", "uploads", "var/tmp", "var/run", "var/log"},
		Texts: map[string]string{
			"etc/passwd":        users,
			"etc/group":         groups,
			"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
		},
	}
}

const (
	users = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\n" +
		"nobody:x:65534:65534:nobody:/:/bin/false\nuser-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n"
	groups = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\nuser-defined-in-image:x:1000:\n" +
		"group-defined-in-image:x:50000:user-defined-in-image\n"
)

// network has what the official images install beside agnhost. The shell beside
// it is bash: Debian's busybox would run its own nc and nslookup first.
func network() Layer {
	return Layer{
		Name:     "network",
		Packages: []string{"curl", "bind9-dnsutils", "bind9-host", "netcat-openbsd", "iproute2", "iperf"},
		Programs: []string{"usr/bin/curl", "usr/bin/dig", "usr/bin/nslookup", "usr/bin/host", "bin/nc.openbsd", "bin/ip", "bin/ss", "usr/bin/iperf"},
		Links:    map[string]string{"usr/bin/sh": "bash", "usr/bin/nc": "nc.openbsd", "usr/local/bin/iperf": "/usr/bin/iperf"},
	}
}

func agnhostLayer() Layer {
	const dir = "test/images/agnhost/porter/"
	return Layer{
		Name:   "agnhost",
		Built:  map[string]string{"agnhost": agnhost},
		Copied: map[string]string{"localhost.crt": dir + "localhost.crt", "localhost.key": dir + "localhost.key"},
		Links:  map[string]string{"agnhost-2": "agnhost"},
	}
}

const nginxConf = `daemon off;
pid /run/nginx.pid;
error_log /dev/stderr;
events {}
http {
  access_log /dev/stdout;
  types { text/html html; }
  server { listen 80; listen [::]:80; root /usr/share/nginx/html; }
}
`

// All returns the recipes of every image that the conformance tests run.
func All() []Image {
	agn := []string{"/agnhost"}
	return []Image{
		{
			File:   "agnhost",
			Names:  []string{name(image.Agnhost), name(image.AgnhostPrev)},
			Layers: []Layer{base(), network(), agnhostLayer()}, Entrypoint: agn, Cmd: []string{"pause"},
		},
		{File: "busybox", Names: []string{name(image.BusyBox)}, Layers: []Layer{base()}, Cmd: []string{"sh"}},
		{
			File: "pause", Names: []string{name(image.Pause)}, Entrypoint: []string{"/pause"}, User: "65535:65535",
			Layers: []Layer{{Name: "pause", Built: map[string]string{"pause": pause}}},
		},
		{
			File: "nginx", Names: []string{name(image.Nginx), name(image.NginxNew)}, Cmd: []string{"nginx"},
			Layers: []Layer{base(), {
				Name: "nginx", Packages: []string{"nginx"}, Programs: []string{"usr/sbin/nginx"}, Files: []string{"usr/share/nginx/html/index.html"},
				Texts: map[string]string{"etc/nginx/nginx.conf": nginxConf},
				Dirs:  []string{"var/lib/nginx", "var/log/nginx"},
			}},
		},
		{
			File: "jessie-dnsutils", Names: []string{name(image.JessieDnsutils)}, Cmd: []string{"sh"},
			Layers: []Layer{base(), network()},
		},
		{
			File: "nautilus", Names: []string{name(image.Nautilus)}, Entrypoint: agn, Cmd: []string{"test-webserver"},
			Layers: []Layer{base(), network(), agnhostLayer(), {Name: "nautilus", Copied: map[string]string{
				"nautilus.jpg": "test/images/nautilus/html/nautilus.jpg", "data.json": "test/images/nautilus/html/data.json",
			}}},
		},
		{
			File: "nonewprivs", Names: []string{name(image.Nonewprivs)}, Cmd: []string{"nnp"},
			Layers: []Layer{base(), {
				Name: "nonewprivs", Built: map[string]string{"usr/local/bin/nnp": nonewprivs}, SetUID: []string{"usr/local/bin/nnp"},
			}},
		},
		{File: "nonroot", Names: []string{name(image.NonRoot)}, Layers: []Layer{base()}, User: "1234", Cmd: []string{"sh"}},
	}
}

// name is what the suite calls an image.
func name(id image.ImageID) string { return image.GetE2EImage(id) }

// usr puts a path of a package where merged directories have it: in usr, with
// every program in usr/bin.
func usr(p string) string {
	p = path.Clean(p)
	first, rest, _ := cut(p)
	switch first {
	case "lib", "lib64":
		return path.Join("usr", p)
	case "bin", "sbin":
		return path.Join("usr/bin", rest)
	}
	if rest, ok := under(p, "usr/sbin"); ok {
		return path.Join("usr/bin", rest)
	}
	return p
}
