/* Where a buffer lies, as the device sees it: what a kernel takes for it whose arguments are bare addresses (src/device/address.h). */
__kernel void address_of(const __global uchar *buffer, __global ulong *to)
{
    *to = (ulong)buffer;
}
