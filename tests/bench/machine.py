"""What bench_step.py wants to know of the machine and of processes: cores, instruction sets, memory, energy."""
import glob
import os

# What keeps each side to an instruction set: PyTorch's parts, then the compilers of PoCL (from Debian) and Intel. bitsandbytes' own
# kernels have no such variable.
ISAS = {
    "native": {},
    "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512", "MKL_ENABLE_INSTRUCTIONS": "AVX512"},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
             "POCL_KERNELLIB_NAME": "avx2", "CL_CONFIG_CPU_TARGET_ARCH": "core-avx2"},
}
PLAIN_ROWS = "gemm=native,attention=cpu,attention-back=cpu"  # ours without AVX512-BF16 and AMX


def read(path):
    with open(path) as f:
        return f.read().strip()


def cores():
    """Cores of the affinity mask: two hardware threads of one count once."""
    found = set()
    for cpu in os.sched_getaffinity(0):
        try:
            found.add(read("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list" % cpu))
        except OSError:
            found.add(str(cpu))
    return len(found)


def processor():
    for line in read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "a processor without a name"


def most_resident(pid):
    """Bytes that a living process had resident at its most."""
    for line in read("/proc/%d/status" % pid).splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return None


def processor_seconds(pid):
    """What all threads of a living process have taken."""
    fields = read("/proc/%d/stat" % pid).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Energy:
    """Joules that the processors took, by RAPL (Intel's and AMD's counters have one name); `why` says why there is none."""

    def __init__(self, folder="/sys/class/powercap"):
        self.why = None
        try:
            zones = [z for z in sorted(glob.glob(folder + "/intel-rapl:*")) if z.count(":") == 1]
            self.zones = [z for z in zones if read(z + "/name").startswith("package")]  # not psys, which has them in it
            if not self.zones:
                self.why = "this machine shows no RAPL counter (%s/intel-rapl:*)" % folder
            self.ranges = [int(read(z + "/max_energy_range_uj")) for z in self.zones]
            self.last = self.counters()
        except OSError as e:
            self.why = "%s: %s; root may read it" % (e.filename, e.strerror)

    def counters(self):
        return [int(read(z + "/energy_uj")) for z in self.zones]

    def since(self):
        """Joules since the last call, or None."""
        if self.why:
            return None
        now, before = self.counters(), self.last
        self.last = now
        return 1e-6 * sum(a - b if a >= b else a - b + r for a, b, r in zip(now, before, self.ranges))
