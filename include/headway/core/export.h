#pragma once
// Symbols are hidden unless marked HEADWAY_API.

#if defined(_WIN32)
#define HEADWAY_API
#else
#define HEADWAY_API __attribute__((visibility("default")))
#endif
