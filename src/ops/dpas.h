/** What programs for Intel's matrix units are built with. */
#ifndef TN_DPAS_H
#define TN_DPAS_H

/** All registers of a thread: with half of them the tiles spill. And the extension's macro, by which drivers declare its functions,
 * and which older ones (22.43) do not define by themselves. */
#define TN_DPAS_OPTIONS "-cl-intel-256-GRF-per-thread -Dcl_intel_subgroup_matrix_multiply_accumulate=1"
#endif
