/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Up to 128 bytes are all read before any is written, so memmove() can use this
 * code. A longer copy uses the string instruction, which takes about as long to
 * start as a copy of 128 bytes.
 */
.global memcpy
.global __memcpy_fwd
.hidden __memcpy_fwd
.type memcpy,@function
memcpy:
__memcpy_fwd:
	mov %rdi,%rax
	cmp $16,%rdx
	jb 4f
	movups (%rsi),%xmm0
	movups -16(%rsi,%rdx),%xmm1
	cmp $32,%rdx
	jbe 1f
	movups 16(%rsi),%xmm2
	movups -32(%rsi,%rdx),%xmm3
	cmp $64,%rdx
	jbe 2f
	cmp $128,%rdx
	ja 3f
	movups 32(%rsi),%xmm4
	movups 48(%rsi),%xmm5
	movups -64(%rsi,%rdx),%xmm6
	movups -48(%rsi,%rdx),%xmm7
	movups %xmm4,32(%rdi)
	movups %xmm5,48(%rdi)
	movups %xmm6,-64(%rdi,%rdx)
	movups %xmm7,-48(%rdi,%rdx)
2:	movups %xmm2,16(%rdi)
	movups %xmm3,-32(%rdi,%rdx)
1:	movups %xmm0,(%rdi)
	movups %xmm1,-16(%rdi,%rdx)
	ret
3:	mov %rdx,%rcx
	rep movsb
	ret
4:	cmp $8,%rdx
	jb 5f
	mov (%rsi),%rcx
	mov -8(%rsi,%rdx),%r8
	mov %rcx,(%rdi)
	mov %r8,-8(%rdi,%rdx)
	ret
5:	cmp $4,%rdx
	jb 6f
	mov (%rsi),%ecx
	mov -4(%rsi,%rdx),%r8d
	mov %ecx,(%rdi)
	mov %r8d,-4(%rdi,%rdx)
	ret
6:	test %rdx,%rdx
	jz 7f
	mov %rdx,%r10
	shr $1,%r10
	movzbl (%rsi),%ecx
	movzbl (%rsi,%r10),%r9d		/* the middle byte, or another one again */
	movzbl -1(%rsi,%rdx),%r8d
	mov %cl,(%rdi)
	mov %r9b,(%rdi,%r10)
	mov %r8b,-1(%rdi,%rdx)
7:	ret

.section .note.GNU-stack,"",@progbits
