/* The heatmap that a frame's label asks for: labels [B,3] (x, y in heatmap pixels, visible) -> target [B,S], a Gaussian
 * of peak 1 at the ball, and mask [B]; both 0 where no ball is visible, but for the mask where `negative`. Items (S, B). */
__kernel void heatmap_target(const __global float *labels, __global float *target, __global float *mask, int height, int width,
                             int batch, float sigma, int negative)
{
    const int i = (int)get_global_id(0), b = (int)get_global_id(1), area = height * width;
    if (i >= area || b >= batch) return;
    const float dx = (float)(i % width) - labels[3 * b], dy = (float)(i / width) - labels[3 * b + 1];
    const bool visible = labels[3 * b + 2] > 0.0f;
    target[(size_t)b * area + i] = visible ? exp(-(dx * dx + dy * dy) / (2.0f * sigma * sigma)) : 0.0f;
    if (i == 0) mask[b] = visible || negative ? 1.0f : 0.0f;
}
