/**
 * Files of tensors, whoever wrote them. What torch.save writes since PyTorch 1.6 (adapter_model.bin, pytorch_model.bin, Lightning's
 * .ckpt) is a zip of one pickle and of the storages as they lie in memory; the pickle is read as data (pickle.h), nothing in it is
 * executed.
 */
#ifndef TN_TORCH_FILE_H
#define TN_TORCH_FILE_H
#include "safetensors.h"

/**
 * Opens safetensors, or the zip of torch.save, whose state_dict is the pickle's dict or the one under "state_dict",
 * "model_state_dict", "model", "module", "net" or "network" (what stands beside it is passed over). Values stay mapped; views have
 * strides. In the state_dict only tensors and plain numbers and texts are taken: any other class is TN_ERR_FORMAT naming it, and so
 * is a pickle older than the zips, with the line of Python that writes it anew.
 */
int tn_tensors_open(tn_st_file **out, const char *path, tn_error *err);
#endif
