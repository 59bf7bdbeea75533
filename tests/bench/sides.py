"""The two sides of bench_step.py as processes: start() returns when a burst of steps can be run, burst() gives its seconds, end() the
rest of what is known. What fails raises Ended."""
import json
import os
import subprocess
import tempfile

import machine

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
IMAGE, DECODER, LATERAL, LR, DROPOUT = (512, 288), [256, 128, 64], 256, 1e-4, 0.05
BURST = 0.3  # seconds, as both sides have it
SIZES = {"t": "tiny", "s": "vit-s", "b": "vit-b", "l": "vit-l",  # tiny: to try this program
         "ct": "dinov3-convnext-tiny", "cb": "dinov3-convnext-base"}
ROWS = {"train": "QLoRA step, speed mode", "memory": "QLoRA step, memory mode", "predict": "prediction, adapters merged",
        "frame": "one frame"}
TRAINS = ("train", "memory")
PRECISIONS = {"float32": "fp32", "bf16": "bf16"}  # ours: training.precision
PEERS = {"qlora": "bitsandbytes nf4 QLoRA %s", "lora": "PEFT LoRA %s", "compile": "PEFT LoRA %s, torch.compile"}
PREDICTS = {"lora": "PyTorch %s", "compile": "PyTorch %s, torch.compile"}
NEEDS = ("torch", "transformers", "peft")
CPU_BATCH = {"t": 1, "s": 4, "b": 2, "l": 1, "ct": 4, "cb": 2}  # of a training step there; a prediction has 8


def config_of(size):
    with open(os.path.join(ROOT, "configs/backbone", SIZES[size], "config.json")) as f:
        return json.load(f)


def is_convnext(size):
    return size.startswith("c")


def heat_of(size):
    """[w, h] of the heatmap: half of the image's sides, or the finest map of a ConvNeXt's pyramid."""
    return [side // (4 if is_convnext(size) else 2) for side in IMAGE]


def about(sizes):
    """Heatmaps and decoders of these backbones, for a title."""
    def of(size):
        w, h = heat_of(size)
        decoder = "feature pyramid of %d, summed" % LATERAL if is_convnext(size) else "decoder %s" % ["D", *DECODER]
        return "heatmap %d x %d, %s" % (h, w, decoder.replace("'", ""))
    return "; ".join(dict.fromkeys(of(s) for s in sizes))


class Case:
    """What one row of the table runs."""

    def __init__(self, o, size, row, precision):
        self.o, self.size, self.row, self.precision, self.train = o, size, row, precision, row in TRAINS
        usual = 32 if not o.cpu else CPU_BATCH[size] if self.train else 8
        self.batch = 1 if row == "frame" else o.batch or usual
        self.config, self.heat = config_of(size), heat_of(size)

    def decoder(self):
        """As the peers take it."""
        if is_convnext(self.size):
            return {"lateral": LATERAL}
        return {"channels": [self.config["hidden_size"], *DECODER]}

    def decoder_settings(self):
        """As our command takes it."""
        if is_convnext(self.size):
            return ["model.model_name=convnext_fpn_heatmap", "model.fpn.lateral_dim=%d" % LATERAL]
        return ["model.decoder.channels=%s" % self.decoder()["channels"], "model.decoder.upsample=[2,2,2]"]

    def name(self):
        return "%s, batch %d" % (ROWS[self.row], self.batch) if self.row != "frame" else ROWS[self.row]


class Ended(Exception):
    """A side that cannot go on, and why."""


def look_at_ours(o):
    """Resident bytes of a process of ours that has asked the OpenCL drivers and no more, and what our kernels may use."""
    p = subprocess.Popen([os.path.abspath(o.tracknet), "devices", "--device", o.device, "--json"], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True, env=o.environment)
    text, usage = p.stdout.read(), os.wait4(p.pid, 0)[2]
    return 1024 * usage.ru_maxrss, json.loads(text)[0]["capabilities"] if text else "unknown"


class Ours:
    def __init__(self, case):
        self.case, self.side, self.errors = case, "ours, " + case.precision, tempfile.TemporaryFile("w+")

    def settings(self):
        c = self.case
        only_trained = str(c.train).lower()  # merged adapters leave a plain model
        return ["--model", "vit_qlora_heatmap", "--training", "default", "data.preprocess.resize=[%d,%d]" % IMAGE,
                "model.pretrained_model_name=configs/backbone/" + SIZES[c.size], "model.backbone.random_init=true",
                "model.heatmap.size=%s" % c.heat, "model.heatmap.head_std=0.01", *c.decoder_settings(),
                "model.lora.r=16", "model.lora.lora_dropout=%s" % DROPOUT,
                "model.lora.enabled=" + only_trained, "model.quantization.enabled=" + only_trained,
                "training.precision=" + PRECISIONS[c.precision], "training.optimizer.lr=%s" % LR, "training.grad_clip_norm=0",
                "training.memory_optimization.gradient_checkpointing=%s" % str(c.row == "memory").lower()]

    def launch(self):
        c, o = self.case, self.case.o
        command = [os.path.abspath(o.tracknet), "profile", "train" if c.train else "predict", "--json", "--paced", "--device", o.device,
                   "--batch", str(c.batch), "--repeat", str(o.repeat + 1), *(["--threads", str(o.threads)] if o.cpu else []),
                   *(["--variants", machine.PLAIN_ROWS] if o.cpu and o.isa != "native" else []), *self.settings()]
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=self.errors, text=True, env=o.environment)
        except OSError as e:
            raise Ended(str(e))
        self.read()  # the first burst has the run-up in it

    def start(self):
        self.launch()
        if self.case.o.cpu:  # again, so that no kernel is built, which takes memory
            self.process.kill()
            self.process.wait()
            self.launch()

    def read(self):
        line = self.process.stdout.readline()
        if not line.startswith("burst "):
            self.fail()
        return float(line.split()[1])

    def fail(self):
        status = self.process.wait()
        self.errors.seek(0)
        raise Ended((self.errors.read().strip() or "it ended with status %d" % status).splitlines()[-1])

    def burst(self):
        try:
            print(file=self.process.stdin, flush=True)
        except BrokenPipeError:
            self.fail()
        return self.read()

    def end(self):
        text = self.process.communicate("\n")[0]
        if self.process.returncode:
            self.fail()
        r = json.loads(text)
        r["device_seconds"] = r["seconds"]
        del r["entries"]  # thousands of them
        return r

    def stop(self):
        pass

    def empty(self):
        return self.case.o.ours_empty


class Peer:
    """A process of peer_step.py: one for all cases of a GPU, where it may be asked again; one for each of a CPU, whose memory is its."""

    def __init__(self, o):
        self.o = o
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([o.python, os.path.join(HERE, "peer_step.py")], stdin=pipe, stdout=pipe,
                                        stderr=subprocess.DEVNULL, text=True, env=o.environment)
        self.hello = json.loads(self.process.stdout.readline() or '{"missing": ["torch"]}')
        self.resident = machine.most_resident(self.process.pid) if self.process.poll() is None else None

    def lacks(self, peer):
        """What keeps a peer from running here, or None."""
        gone = [n for n in NEEDS if n in self.hello["missing"]]
        if not gone and peer == "qlora" and "bitsandbytes" in self.hello["missing"]:
            gone = ["bitsandbytes"]
        if gone:
            return "%s cannot import %s" % (self.o.python, " and ".join(gone))
        return None if self.hello.get("cuda") or self.o.cpu else "PyTorch sees no CUDA device"

    def use(self, case, peer):
        self.case, self.peer, self.side = case, peer, (PEERS if case.train else PREDICTS)[peer] % case.precision
        return self

    def ask(self, text):
        try:
            print(text, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        r = json.loads(line) if line else {"error": "the peer's process ended with status %s" % self.process.wait()}
        if "error" in r:
            raise Ended(r["error"])
        return r

    def start(self):
        c = self.case
        self.ask(json.dumps({"row": c.row, "peer": self.peer, "precision": c.precision, "config": c.config, "image": IMAGE,
                             "heat": c.heat, "decoder": c.decoder(), "batch": c.batch, "device": "cpu" if self.o.cpu else "cuda",
                             "threads": self.o.threads if self.o.cpu else None, "lr": LR, "dropout": DROPOUT}))

    def burst(self):
        return self.ask("burst")["seconds"]

    def end(self):
        return self.ask("end")

    def stop(self):
        if self.o.cpu:
            self.close()

    def empty(self):
        return self.resident

    def close(self):
        try:
            self.process.communicate()
        except BrokenPipeError:  # it died
            self.process.wait()


