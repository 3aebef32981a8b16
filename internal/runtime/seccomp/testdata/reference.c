// reference compiles profiles with libseccomp, as runc does, for the
// differential test. It reads commands from standard input, one a line:
//
//	numbers ARCH NAME...          prints each name's number
//	begin DEFAULT                 begins a filter
//	arch ARCH                     adds an architecture
//	rule ACTION NAME [IDX OP V1 V2]...
//	end                           prints the program's length in bytes, then the program
#include <errno.h>
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char line[1 << 20];

static void export_filter(scmp_filter_ctx ctx)
{
	static char buf[1 << 20];
	FILE *tmp = tmpfile();
	if (!tmp || seccomp_export_bpf(ctx, fileno(tmp)) < 0) {
		printf("-1\n");
		fflush(stdout);
		return;
	}
	rewind(tmp);
	size_t n = fread(buf, 1, sizeof buf, tmp);
	fclose(tmp);
	printf("%zu\n", n);
	fwrite(buf, 1, n, stdout);
	fflush(stdout);
}

static void rule(scmp_filter_ctx ctx, char *save)
{
	struct scmp_arg_cmp args[6];
	unsigned n = 0;
	uint32_t action = strtoul(strtok_r(NULL, " \n", &save), NULL, 0);
	char *name = strtok_r(NULL, " \n", &save), *word;
	while (n < 6 && (word = strtok_r(NULL, " \n", &save))) {
		args[n].arg = strtoul(word, NULL, 0);
		args[n].op = strtoul(strtok_r(NULL, " \n", &save), NULL, 0);
		args[n].datum_a = strtoull(strtok_r(NULL, " \n", &save), NULL, 0);
		args[n].datum_b = strtoull(strtok_r(NULL, " \n", &save), NULL, 0);
		n++;
	}
	int nr = seccomp_syscall_resolve_name(name);
	if (nr == __NR_SCMP_ERROR)
		return;
	int rc = seccomp_rule_add_array(ctx, action, nr, n, n ? args : NULL);
	if (rc < 0)
		fprintf(stderr, "rule %s: %s\n", name, strerror(-rc));
}

int main(void)
{
	scmp_filter_ctx ctx = NULL;
	while (fgets(line, sizeof line, stdin)) {
		char *save = NULL, *word = strtok_r(line, " \n", &save);
		if (!word)
			continue;
		if (!strcmp(word, "numbers")) {
			uint32_t arch = seccomp_arch_resolve_name(strtok_r(NULL, " \n", &save));
			while ((word = strtok_r(NULL, " \n", &save)))
				printf("%d ", seccomp_syscall_resolve_name_arch(arch, word));
			printf("\n");
			fflush(stdout);
		} else if (!strcmp(word, "begin")) {
			ctx = seccomp_init(strtoul(strtok_r(NULL, " \n", &save), NULL, 0));
		} else if (!strcmp(word, "arch")) {
			int rc = seccomp_arch_add(ctx, seccomp_arch_resolve_name(strtok_r(NULL, " \n", &save)));
			if (rc < 0 && rc != -EEXIST)
				fprintf(stderr, "arch: %s\n", strerror(-rc));
		} else if (!strcmp(word, "rule")) {
			rule(ctx, save);
		} else if (!strcmp(word, "end")) {
			export_filter(ctx);
			seccomp_release(ctx);
		}
	}
	return 0;
}
