// The pause process of a sandbox, and how it comes to be. It runs as a
// constructor, before the Go runtime starts, so that a pod costs some pages and
// a millisecond, and not a runtime. It must reap: in a pod with a shared pid
// namespace it is the first process.
//
// "/pause setup" is the same process before it is one: in its namespaces
// already, it makes its file system, gives up what it may do and executes
// /pause. What it is to do comes through descriptor 5 (launch.go says
// it), what went wrong goes out through 6.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WORDS = 5, REPORT = 6, MAX_WORDS = 64 << 10 };

static void end(int sig) { (void)sig; _exit(0); }

static void give_up(const char *what)
{
	dprintf(REPORT, "%s: %s", what, strerror(errno));
	_exit(1);
}

// write_file writes text to a file that exists.
static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		give_up(path);
	close(fd);
}

// make_root makes the process's root directory: the given one, read-only, with
// a /proc of its pid namespace. The words up to the last are sysctls.
static void make_root(const char *rootfs, char *sysctl, const char *last)
{
	if (mount("", "/", "", MS_SLAVE | MS_REC, NULL) < 0 || mount(rootfs, rootfs, "", MS_BIND | MS_REC, NULL) < 0 || chdir(rootfs) < 0)
		give_up(rootfs);
	if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		give_up("mount /proc");
	while (sysctl < last) { // path, then value
		char *value = sysctl + strlen(sysctl) + 1;

		write_file(sysctl, value);
		sysctl = value + strlen(value) + 1;
	}
	if (mount("", ".", "", MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
		give_up("make the root read-only");
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		give_up("pivot_root");
}

// loopback turns the network namespace's lo on, if it is off.
static void loopback(void)
{
	struct ifreq lo = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &lo) < 0)
		give_up("lo");
	if (!(lo.ifr_flags & IFF_UP)) {
		lo.ifr_flags |= IFF_UP;
		if (ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
			give_up("turn lo on");
	}
	close(fd);
}

// drop gives up everything that root may do.
static void drop(unsigned uid, unsigned gid)
{
	for (int cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		;
	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, gid, gid, gid) < 0 || syscall(SYS_setresuid, uid, uid, uid) < 0)
		give_up("set user");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		give_up("no_new_privs");
}

static void setup(void)
{
	static char words[MAX_WORDS];
	static char *const argv[] = {"/pause", NULL}, *const envp[] = {"PATH=/", NULL};
	char *next[5];
	size_t have = 0;
	ssize_t n;

	while ((n = read(WORDS, words + have, sizeof(words) - have)) > 0)
		have += n;
	if (have < 4 || memcmp(words + have - 4, "\0go", 4) != 0)
		_exit(1); // whoever was to say it is gone
	close(WORDS);
	fcntl(REPORT, F_SETFD, FD_CLOEXEC);
	char *word = words;
	for (int i = 0; i < 5; i++, word += strlen(word) + 1)
		next[i] = word;
	if (*next[2])
		write_file("/proc/self/oom_score_adj", next[2]);
	if (*next[1] && sethostname(next[1], strlen(next[1])) < 0)
		give_up("sethostname");
	loopback();
	make_root(next[0], word, words + have - 3);
	umask(022);
	drop(strtoul(next[3], NULL, 10), strtoul(next[4], NULL, 10));
	execve("/pause", argv, envp);
	give_up("/pause");
}

__attribute__((constructor)) static void pause_main(int argc, char **argv)
{
	struct sigaction reap = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
	struct sigaction stop = {.sa_handler = end};

	if (argc < 1 || strcmp(argv[0], "/pause") != 0)
		return;
	if (argc > 1 && strcmp(argv[1], "setup") == 0)
		setup();
	sigaction(SIGCHLD, &reap, NULL);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	for (;;)
		pause();
}
