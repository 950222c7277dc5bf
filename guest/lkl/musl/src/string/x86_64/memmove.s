/* SPDX-License-Identifier: MPL-2.0 */
/* Backwards only where it has to be, and then by 16 bytes: the string instruction takes a cycle and more for each byte there. */
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
	movups (%rsi),%xmm1	/* what is left in front, in the end */
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
