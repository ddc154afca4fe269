/* A program with static probes as sys/sdt.h writes them, with and without a semaphore. */
#include <stdio.h>

unsigned short demo_semaphore __attribute__((section(".probes"), used));

#define PROBE(name, semaphore, arguments, ...)                                                                         \
	__asm__ volatile("990: nop\n"                                                                                  \
			 ".pushsection .note.stapsdt,\"?\",\"note\"\n.balign 4\n"                                      \
			 ".4byte 992f-991f, 994f-993f, 3\n991: .asciz \"stapsdt\"\n992: .balign 4\n"                   \
			 "993: .8byte 990b\n.8byte _.stapsdt.base\n.8byte " semaphore "\n"                             \
			 ".asciz \"demo\"\n.asciz \"" name "\"\n.asciz \"" arguments "\"\n994: .balign 4\n.popsection\n" \
			 ".ifndef _.stapsdt.base\n"                                                                    \
			 ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"                      \
			 ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n"                   \
			 ".size _.stapsdt.base, 1\n.popsection\n.endif\n" ::__VA_ARGS__)

int main(void)
{
	volatile int local = -7;
	short table[4] = { 1, -2, 3, -4 };

	while (getchar() != EOF) {
		PROBE("plain", "0", "-4@%k0 8@%1 4@$42", "r"(local), "r"(0x1122334455667788));
		PROBE("memory", "0", "-4@(%0) -2@2(%1,%2,2)", "r"(&local), "r"(table), "r"(2L));
		if (demo_semaphore)
			PROBE("guarded", "demo_semaphore", "2@%w0", "r"(demo_semaphore));
		printf("%d\n", demo_semaphore);
		fflush(stdout);
	}
	return 0;
}
