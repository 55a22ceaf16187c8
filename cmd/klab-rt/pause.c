// The pause process of a sandbox. It runs as a constructor, before the Go
// runtime starts, so that a pod costs some pages and not a runtime. It must
// reap: in a pod with a shared pid namespace it is the first process.
#include <signal.h>
#include <string.h>
#include <unistd.h>

static void end(int sig) { (void)sig; _exit(0); }

__attribute__((constructor)) static void pause_main(int argc, char **argv)
{
	struct sigaction reap = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
	struct sigaction stop = {.sa_handler = end};

	if (argc < 1 || strcmp(argv[0], "/pause") != 0)
		return;
	sigaction(SIGCHLD, &reap, NULL);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	for (;;)
		pause();
}
