/** What every header of the library begins with: visibility and version. */
#ifndef TRACKNET_API_H
#define TRACKNET_API_H

/** Marks what a shared library exports; nothing else of it is visible. */
#if defined(__GNUC__)
#define TN_API __attribute__((visibility("default")))
#else
#define TN_API
#endif

/** How a struct with a version begins; for the INIT macros of the other headers. */
#ifdef __cplusplus
#define TN_INIT(v)                                                                                                                 \
    {                                                                                                                              \
        v                                                                                                                          \
    }
#else
#define TN_INIT(v)                                                                                                                 \
    {                                                                                                                              \
        .version = (v)                                                                                                             \
    }
#endif

/** The version of these headers, which is meson.build's (checked when that is read); tn_version() is that of the library which
 * runs. */
#define TN_VERSION_MAJOR  0
#define TN_VERSION_MINOR  1
#define TN_VERSION_PATCH  0
#define TN_VERSION_STRING "0.1.0"
/** One number to compare: 10000 major + 100 minor + patch. */
#define TN_VERSION_NUMBER (10000 * TN_VERSION_MAJOR + 100 * TN_VERSION_MINOR + TN_VERSION_PATCH)

#endif
