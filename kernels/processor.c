/* Which of the variants this processor, and its system, can run; compiled for any processor of the kind. */
#include "base.h"

#if defined __x86_64__
#include <cpuid.h>

static uint64_t saved_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}
static int all(uint32_t bits, uint32_t wanted) { return (bits & wanted) == wanted; }

/* Everything that a compiler may use for x86-64-v3, x86-64-v4, and bfloat16 beside it. */
static int has(const char *variant) {
    uint32_t a, b, c, d, basic, extended, a7, b7, c7, d7;
    if (!__get_cpuid(1, &a, &b, &basic, &d)) return 0;
    if (!all(basic, bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C | bit_MOVBE | bit_POPCNT | bit_SSE4_2)) return 0;
    if (!__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7) || !all(b7, bit_AVX2 | bit_BMI | bit_BMI2)) return 0;
    if (!__get_cpuid(0x80000001, &a, &b, &extended, &d) || !all(extended, bit_LZCNT)) return 0;
    uint64_t saved = saved_registers();
    if ((saved & 6) != 6) return 0;
    if (!strcmp(variant, "avx2")) return 1;
    if ((saved & 0xe6) != 0xe6) return 0;
    if (!all(b7, bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL)) return 0;
    if (!strcmp(variant, "avx512")) return 1;
    enum { BFLOAT16_PRODUCTS = 1 << 5 };
    return !strcmp(variant, "avx512_bf16") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && all(a, BFLOAT16_PRODUCTS);
}

#elif defined __aarch64__
#if defined __APPLE__
#include <sys/sysctl.h>
static int multiplies_bfloat16(void) {
    int found = 0;
    size_t length = sizeof found;
    return sysctlbyname("hw.optional.arm.FEAT_BF16", &found, &length, NULL, 0) == 0 && found;
}
#elif defined __linux__
#include <sys/auxv.h>
enum { WORD_2 = 26, BFLOAT16_BIT = 1 << 14 }; /* AT_HWCAP2 and HWCAP2_BF16, which older headers lack */
static int multiplies_bfloat16(void) { return (getauxval(WORD_2) & BFLOAT16_BIT) != 0; }
#else
static int multiplies_bfloat16(void) { return 0; }
#endif
static int has(const char *variant) {
    return !strcmp(variant, "neon") || (!strcmp(variant, "neon_bf16") && multiplies_bfloat16());
}

#else
static int has(const char *variant) { return 0; }
#endif

/* Whether the entries of a variant can be called here. */
EXPORT int processor_has(const char *variant) { return has(variant); }
