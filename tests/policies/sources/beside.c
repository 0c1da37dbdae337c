// A policy in whose module another allocator lives. OTHER says which:
//   1  all behind __heap_base is its own, as in C libraries, and then what it lets the memory grow by
//   2  what it lets the memory grow by, as in Zig
//   3  as 1, and it is the module's malloc
#include "oncegate.h"

#if OTHER == 3
#define other_room malloc
#endif

extern unsigned char __heap_base;

void *other_room(size_t bytes);

__attribute__((noinline)) void *other_room(size_t bytes) {
    static uintptr_t from, end;
#if OTHER != 2
    if (end == 0) {
        from = (uintptr_t)&__heap_base;
        end = (from + 65535) & ~(uintptr_t)65535;
    }
#endif
    from = (from + 15) & ~(uintptr_t)15;
    if (end - from < bytes) {
        size_t pages = (bytes + 65535) / 65536;
        size_t before = __builtin_wasm_memory_grow(0, pages) * 65536;
        if (before != end) from = before;
        end = before + pages * 65536;
    }
    void *at = (void *)from;
    from += bytes;
    return at;
}

// What a C++ program would keep in static variables and their like.
static char *prefix;
static size_t scratch_size;
static char *scratch;

og_planned og_configure(og_text settings) {
    (void)settings;
    static og_text fields[] = { { "idempotency-key", 15 } };
    og_plan plan = og_plan_of(OG("beside/1"));
    plan.request_fields = (og_texts){ fields, 1 };
    plan.request_payload = (og_payload_want){ .tag = OG_WHOLE, .whole = 1 << 20 };
    return og_planned_as(plan);
}

og_decision og_decide(const og_operation *operation) {
    og_text key, body = OG("");
    if (!og_field_value(operation, OG("idempotency-key"), 0, &key)) return og_bypassed(OG("no key"));
    if (operation->payload == OG_ALL) body = operation->bytes;
    if (!prefix) {
        prefix = other_room(6);
        __builtin_memcpy(prefix, "order-", 6);
    }
    if (scratch_size < body.length) {
        scratch_size = 2 * body.length;
        scratch = other_room(scratch_size);
    }
    __builtin_memcpy(scratch, body.at, body.length);
    og_text copied = og_sha256((og_text){ scratch, body.length });
    og_part parts[] = { og_text_part(og_joined((og_text){ prefix, 6 }, key)), og_text_part(copied) };
    return og_guarded(og_guard_of(parts, 2));
}
