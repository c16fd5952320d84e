//! From the loader to Rust: the PVH entry in 32-bit mode, an identity map of 4 GiB, long mode, the call of `kernel_main`.
//!
//! PVH ("x86/HVM direct boot ABI" of Xen, `docs/misc/pvh.pandoc`): the loader enters at the address of ELF note 18 with paging
//! off and the address of its start info in EBX. The first 4 GiB are mapped with pages of 2 MiB, so addresses of memory and of
//! device registers are the same to the CPU as on the bus; page tables that say more are made later, in Rust. The page below the stack is
//! left out: what runs over it faults.
//! SSE is on since the compiler uses it. Interrupts are off, and stay off until somebody waits for one, on a stack of their own: the
//! precompiled core library uses the red zone.
#![expect(unsafe_code, reason = "the entry is assembly")]

use core::arch::global_asm;

global_asm!(
    r#"
.section .note.pvh, "a", @note
    .long 4, 4, 18
    .asciz "Xen"
    .long _start

.section .boot, "ax"
.code32
.global _start
_start:
    cli
    cld
    mov esp, offset stack_top
    mov ebp, ebx                        // the start info

    // Seven tables: level 4, level 3, four of level 2, one of level 1.
    mov edi, offset boot_tables
    mov ecx, 7 * 1024
    xor eax, eax
    rep stosd
    mov edx, offset boot_tables
    lea eax, [edx + 4096 + 3]           // present, writable
    mov [edx], eax
    lea ebx, [edx + 4096]               // level 3
    lea eax, [edx + 2 * 4096 + 3]
    mov ecx, 4
1:
    mov [ebx], eax
    add eax, 4096
    add ebx, 8
    loop 1b
    lea ebx, [edx + 2 * 4096]           // level 2
    mov eax, 0x83                       // present, writable, 2 MiB
    mov ecx, 2048
2:
    mov [ebx], eax
    add eax, 0x200000
    add ebx, 8
    loop 2b
    // The 2 MiB around the page below the stack, in pages of 4 KiB, and without that page.
    mov eax, offset stack_guard
    and eax, 0xffe00000
    or eax, 3                           // present, writable
    lea ebx, [edx + 6 * 4096]           // level 1
    mov ecx, 512
3:
    mov [ebx], eax
    add eax, 4096
    add ebx, 8
    loop 3b
    mov eax, offset stack_guard
    mov ecx, eax
    shr ecx, 12
    and ecx, 511
    mov dword ptr [edx + ecx * 8 + 6 * 4096], 0
    shr eax, 21
    lea ecx, [edx + 6 * 4096 + 3]
    mov [edx + eax * 8 + 2 * 4096], ecx

    mov eax, cr4
    or eax, 0x620                       // PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov cr3, edx
    mov ecx, 0xC0000080                 // EFER
    rdmsr
    or eax, 0x900                       // LME, NXE
    wrmsr
    mov eax, cr0
    and eax, 0xfffffffb                 // not EM
    or eax, 0x80010003                  // PG, WP, MP, PE
    mov cr0, eax
    lgdt [gdt_pointer]
    push 8
    mov eax, offset long_mode
    push eax
    retf

.align 8
gdt:
    .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
    .word 23
    .long gdt, 0

.code64
long_mode:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov rsp, offset stack_top
    mov edi, ebp
    lea rsi, [rip + image_end]
    xor ebp, ebp
    call {main}
    ud2
"#,
    main = sym super::kernel_main,
);
