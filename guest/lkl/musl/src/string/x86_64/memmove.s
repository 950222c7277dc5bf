/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Copies backwards only if it must, 16 bytes at a time: backwards, the string
 * instruction takes more than a cycle per byte.
 */
.global memmove
.type memmove,@function
memmove:
.hidden __memcpy_fwd
	cmp $128,%rdx
	jbe __memcpy_fwd
	mov %rdi,%rax
	sub %rsi,%rax
	cmp %rdx,%rax
	jae __memcpy_fwd
	mov %rdi,%rax
	movups (%rsi),%xmm1	/* the first 16 bytes, stored last */
	movups -16(%rsi,%rdx),%xmm0
1:	movups -32(%rsi,%rdx),%xmm2
	movups %xmm0,-16(%rdi,%rdx)
	movaps %xmm2,%xmm0
	sub $16,%rdx
	cmp $32,%rdx
	jae 1b
	movups %xmm0,-16(%rdi,%rdx)
	movups %xmm1,(%rdi)
	ret

.section .note.GNU-stack,"",@progbits
