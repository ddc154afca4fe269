/* SPDX-License-Identifier: Apache-2.0 */
/* Byte order conversions. clang folds the builtins, so one spelling serves constants, case labels and variables. */
#ifndef __BPF_ENDIAN__
#define __BPF_ENDIAN__

#define ___bpf_swab16(x) ((__u16)__builtin_bswap16((__u16)(x)))
#define ___bpf_swab32(x) ((__u32)__builtin_bswap32((__u32)(x)))
#define ___bpf_swab64(x) ((__u64)__builtin_bswap64((__u64)(x)))

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ___skep_be16(x) ___bpf_swab16(x)
#define ___skep_be32(x) ___bpf_swab32(x)
#define ___skep_be64(x) ___bpf_swab64(x)
#elif __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define ___skep_be16(x) ((__u16)(x))
#define ___skep_be32(x) ((__u32)(x))
#define ___skep_be64(x) ((__u64)(x))
#else
#error "unknown byte order"
#endif

#define bpf_htons(x) ___skep_be16(x)
#define bpf_ntohs(x) ___skep_be16(x)
#define bpf_htonl(x) ___skep_be32(x)
#define bpf_ntohl(x) ___skep_be32(x)
#define bpf_cpu_to_be64(x) ___skep_be64(x)
#define bpf_be64_to_cpu(x) ___skep_be64(x)

/* Older spellings that programs still use. */
#define __bpf_htons(x) ___skep_be16(x)
#define __bpf_ntohs(x) ___skep_be16(x)
#define __bpf_htonl(x) ___skep_be32(x)
#define __bpf_ntohl(x) ___skep_be32(x)
#define __bpf_cpu_to_be64(x) ___skep_be64(x)
#define __bpf_be64_to_cpu(x) ___skep_be64(x)
#define __bpf_constant_htons(x) ___skep_be16(x)
#define __bpf_constant_ntohs(x) ___skep_be16(x)
#define __bpf_constant_htonl(x) ___skep_be32(x)
#define __bpf_constant_ntohl(x) ___skep_be32(x)
#define __bpf_constant_be64_to_cpu(x) ___skep_be64(x)
#define __bpf_constant_cpu_to_be64(x) ___skep_be64(x)

#endif
