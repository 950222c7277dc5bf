/* SPDX-License-Identifier: MPL-2.0 */
/*
 * registers TURNS: four threads fill all registers with their own values, compute, and
 * compare. Prints "kept" if no value changed.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 4
#define SPIN 200000

/* In the order in which exchange() loads them. */
struct registers {
	uint64_t ax, bx, dx, si, di, bp, r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t flags;
	uint64_t red_zone[16];
	uint64_t x87;
	uint32_t mxcsr, fcw;
	char vector[32][64];
	uint64_t mask[8];
};

/*
 * Loads the registers from *in, counts rcx down without a change of flags, and stores
 * the registers to *out. The loop uses the red zone, so nothing may be pushed there.
 */
void exchange(const struct registers *in, struct registers *out, unsigned long turns, long vectors);
__asm__(
	".text\n"
	"exchange:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	push %rsi; push %rcx; sub $8, %rsp\n" /* 0: saved mxcsr and fcw; 8: vectors; 16: out */
	"	stmxcsr (%rsp); fnstcw 4(%rsp)\n"
	"	mov %rdx, %r15\n"
	/* The red zone: 16 words below rsp. */
	"	lea 120(%rdi), %rsi; lea -128(%rsp), %r8; mov $16, %r9\n"
	"1:	mov (%rsi), %rax; mov %rax, (%r8); add $8, %rsi; add $8, %r8; dec %r9; jnz 1b\n"
	"	fildll 248(%rdi); ldmxcsr 256(%rdi); fldcw 260(%rdi)\n"
	"	lea 264(%rdi), %rsi\n"
	"	cmp $2, %rcx; je 3f; jb 2f\n"
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
	"	vmovdqu64 64*\\n(%rsi), %zmm\\n\n"
	".endr\n"
	".irp n,0,1,2,3,4,5,6,7\n"
	"	kmovq 2048+8*\\n(%rsi), %k\\n\n"
	".endr\n"
	"	jmp 4f\n"
	"3:\n"
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vmovdqu 64*\\n(%rsi), %ymm\\n\n"
	".endr\n"
	"	jmp 4f\n"
	"2:\n"
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movdqu 64*\\n(%rsi), %xmm\\n\n"
	".endr\n"
	"4:	mov %r15, %rcx\n"
	/* popfq needs the stack: below the red zone. */
	"	mov 112(%rdi), %rax; lea -136(%rsp), %rsp; mov %rax, (%rsp); popfq; lea 128(%rsp), %rsp\n"
	"	mov (%rdi), %rax; mov 8(%rdi), %rbx; mov 16(%rdi), %rdx; mov 24(%rdi), %rsi\n"
	"	mov 40(%rdi), %rbp; mov 48(%rdi), %r8; mov 56(%rdi), %r9; mov 64(%rdi), %r10\n"
	"	mov 72(%rdi), %r11; mov 80(%rdi), %r12; mov 88(%rdi), %r13; mov 96(%rdi), %r14\n"
	"	mov 104(%rdi), %r15; mov 32(%rdi), %rdi\n"
	"5:	lea -1(%rcx), %rcx; jrcxz 6f; jmp 5b\n"
	/* rcx is free now; out is at 16(%rsp). Nothing below changes flags before pushfq. */
	"6:	mov 16(%rsp), %rcx\n"
	"	mov %rax, (%rcx); mov %rbx, 8(%rcx); mov %rdx, 16(%rcx); mov %rsi, 24(%rcx); mov %rdi, 32(%rcx)\n"
	"	mov %rbp, 40(%rcx); mov %r8, 48(%rcx); mov %r9, 56(%rcx); mov %r10, 64(%rcx); mov %r11, 72(%rcx)\n"
	"	mov %r12, 80(%rcx); mov %r13, 88(%rcx); mov %r14, 96(%rcx); mov %r15, 104(%rcx)\n"
	"	lea -128(%rsp), %rsp; pushfq; pop %rax; push $0; popfq; lea 128(%rsp), %rsp\n"
	"	mov %rax, 112(%rcx)\n"
	"	lea 120(%rcx), %rsi; lea -128(%rsp), %r8; mov $16, %r9\n"
	"1:	mov (%r8), %rax; mov %rax, (%rsi); add $8, %rsi; add $8, %r8; dec %r9; jnz 1b\n"
	"	stmxcsr 256(%rcx); fnstcw 260(%rcx); fistpll 248(%rcx)\n"
	"	ldmxcsr (%rsp); fldcw 4(%rsp)\n"
	"	mov 8(%rsp), %rax; lea 264(%rcx), %rsi\n"
	"	cmp $2, %rax; je 3f; jb 2f\n"
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
	"	vmovdqu64 %zmm\\n, 64*\\n(%rsi)\n"
	".endr\n"
	".irp n,0,1,2,3,4,5,6,7\n"
	"	kmovq %k\\n, 2048+8*\\n(%rsi)\n"
	".endr\n"
	"	vzeroupper; jmp 4f\n"
	"3:\n"
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vmovdqu %ymm\\n, 64*\\n(%rsi)\n"
	".endr\n"
	"	vzeroupper; jmp 4f\n"
	"2:\n"
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movdqu %xmm\\n, 64*\\n(%rsi)\n"
	".endr\n"
	"4:	add $24, %rsp\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n");

/* 1: SSE, 2: AVX, 3: AVX-512. */
static int vectors = 1;
static unsigned long turns;

/* Random values that the registers can have. */
static void fill(struct registers *r, unsigned *seed)
{
	memset(r, 0, sizeof(*r));
	for (char *p = (char *)r; p < (char *)&r->vector; p++)
		*p = rand_r(seed) >> 8;
	for (int i = 0; i < (vectors == 3 ? 32 : 16); i++)
		for (int j = 0; j < 8 << vectors; j++)
			r->vector[i][j] = rand_r(seed) >> 8;
	for (int i = 0; vectors == 3 && i < 8; i++)
		r->mask[i] = ((uint64_t)rand_r(seed) << 32) ^ rand_r(seed);
	/* CF, PF, ZF, SF, DF and OF; 2 and IF are always set. */
	r->flags = (r->flags & 0xcc5) | 0x202;
	/* A number that the x87 register holds exactly. */
	r->x87 &= 0xffffffffffff;
	/* Rounding modes, without exceptions. */
	r->mxcsr = 0x1f80 | (r->mxcsr & 0x6000);
	r->fcw = 0x37f | (r->fcw & 0xc00);
}

static void *check(void *arg)
{
	unsigned seed = (uintptr_t)arg;
	struct registers in, out;

	for (unsigned long turn = 0; turn < turns; turn++) {
		fill(&in, &seed);
		memset(&out, 0, sizeof(out));
		exchange(&in, &out, SPIN, vectors);
		for (size_t i = 0; i < sizeof(in); i += sizeof(uint64_t))
			if (memcmp((char *)&in + i, (char *)&out + i, sizeof(uint64_t)) != 0) {
				printf("changed at offset %zu\n", i);
				exit(1);
			}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];

	if (argc != 2)
		return 2;
	turns = strtoul(argv[1], NULL, 10);
	if (__builtin_cpu_supports("avx2"))
		vectors = 2;
	if (__builtin_cpu_supports("avx512bw"))
		vectors = 3;
	for (long i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, check, (void *)(i + 1)) != 0)
			return 2;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	puts("kept");
	return 0;
}
