"""encoder_peers.py: the peers' side of encoder.sh; one system, one subprocess.

    encoder_peers.py versions                 library and version, one a line
    encoder_peers.py export MODEL WORK        writes the models that the peers run
    encoder_peers.py tune SYSTEM THREADS MODEL WORK
                                              finds the fastest setting and keeps it in WORK
    encoder_peers.py run SYSTEM THREADS MODEL WORK [TEXTS OUTPUT]...
                                              one measurement with that setting, as JSON;
                                              embeddings of further texts as float32

Every system goes from text to vectors of length 1. ONNX Runtime and OpenVINO
get pooling and normalisation inside their graphs, and texts from the tokenizers
library itself, which transformers' fast tokenizers wrap; texts are sorted by
length, and a batch is padded to its longest. Batch size and the library's own
settings are the fastest of those that settings() names. CLOCK=cpu measures, with
one thread, the process's time on the processor instead of the clock's.
"""
import contextlib
import importlib.metadata
import json
import os
import statistics
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

os.environ["HF_HUB_OFFLINE"] = "1"
BATCH_SIZES = (1, 4, 8, 16, 32, 64, 128)
SINGLE_TEXTS = 100
TUNING_TEXTS = 160
clock = time.perf_counter


def read_texts(path):
    with open(path, "rb") as file:
        data = file.read()
    texts, place = [], 0
    while place < len(data):
        size, = struct.unpack_from("<i", data, place)
        texts.append(data[place + 4:place + 4 + size].decode())
        place += 4 + size
    return texts


def max_tokens(model):
    with open(os.path.join(model, "sentence_bert_config.json"), encoding="utf-8") as file:
        return json.load(file)["max_seq_length"]


class SentenceTransformers:
    """The whole of it, as people use it; it sorts and pads by itself."""

    def __init__(self, model, work, threads):
        import torch
        from sentence_transformers import SentenceTransformer
        torch.set_num_threads(threads)
        self.model = SentenceTransformer(model, device="cpu")

    def settings(self):
        return [{}]

    def apply(self, setting):
        pass

    def embed(self, texts, batch_size):
        return self.model.encode(texts, batch_size=batch_size, show_progress_bar=False)

    def embed_single(self, text):
        return self.model.encode(text, show_progress_bar=False)


class GraphRunner:
    """What ONNX Runtime and OpenVINO share: tokens, sorting, padding."""

    def __init__(self, model, threads):
        import numpy
        import tokenizers
        self.numpy = numpy
        self.threads = threads
        self.tokenizer = tokenizers.Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens(model))

    def batch(self, ids):
        rows = self.numpy.zeros((len(ids), len(ids[0])), self.numpy.int64)
        mask = self.numpy.zeros_like(rows)
        for i, row in enumerate(ids):
            rows[i, :len(row)] = row
            mask[i, :len(row)] = 1
        return rows, mask

    def embed(self, texts, batch_size):
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts)]
        order = sorted(range(len(texts)), key=lambda i: -len(ids[i]))
        places = [order[i:i + batch_size] for i in range(0, len(order), batch_size)]
        output = self.numpy.empty((len(texts), 384), self.numpy.float32)
        self.run_all([(place, self.batch([ids[i] for i in place])) for place in places], output)
        return output

    def embed_single(self, text):
        return self.run_one(*self.batch([self.tokenizer.encode(text).ids]))


class OnnxRuntime(GraphRunner):
    """Threads inside an operation, or a batch for each thread."""

    def __init__(self, model, work, threads, file):
        super().__init__(model, threads)
        self.path = os.path.join(work, file)

    def settings(self):
        return [{"workers": 1}] + [{"workers": self.threads}] * (self.threads > 1)

    def session(self, threads):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])

    def apply(self, setting):
        self.workers = setting["workers"]
        self.many = self.session(self.threads // self.workers)
        self.one = self.many if self.workers == 1 else self.session(self.threads)
        self.pool = ThreadPoolExecutor(self.workers)

    def run_one(self, ids, mask):
        return self.one.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    def run_all(self, batches, output):
        def run(batch):
            place, (ids, mask) = batch
            output[place] = self.many.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        if self.workers == 1:
            for batch in batches:
                run(batch)
        else:
            list(self.pool.map(run, batches))


class OpenVino(GraphRunner):
    """Both performance hints, requests run asynchronously; each precision by its hint."""

    def __init__(self, model, work, threads, file, precisions):
        super().__init__(model, threads)
        import openvino
        self.openvino = openvino
        self.core = openvino.Core()
        self.path = os.path.join(work, file)
        self.precisions = precisions

    def settings(self):
        hints = ["LATENCY"] + ["THROUGHPUT"] * (self.threads > 1)  # one thread is one stream
        return [{"hint": hint, "precision": precision} for precision in self.precisions for hint in hints]

    def compile(self, hint, precision):
        return self.core.compile_model(self.path, "CPU", {
            "PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": self.threads})

    def apply(self, setting):
        many = self.compile(**setting)
        one = many if setting["hint"] == "LATENCY" else self.compile("LATENCY", setting["precision"])
        self.queue = self.openvino.AsyncInferQueue(many)
        self.request = one.create_infer_request()

    def run_one(self, ids, mask):
        return self.request.infer([ids, mask], share_inputs=True).to_tuple()[0]

    def run_all(self, batches, output):
        def keep(request, place):
            output[place] = request.get_output_tensor(0).data
        self.queue.set_callback(keep)
        for place, (ids, mask) in batches:
            self.queue.start_async([ids, mask], place, share_inputs=True)
        self.queue.wait_all()


def has_bf16():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = file.read()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def open_system(system, model, work, threads):
    # what an int8 graph leaves in floating point may be faster in bf16 where the processor has it
    rest = ["f32", "bf16"] if has_bf16() else ["f32"]
    return {
        "sentence-transformers-f32": lambda: SentenceTransformers(model, work, threads),
        "onnxruntime-f32": lambda: OnnxRuntime(model, work, threads, "f32.onnx"),
        "onnxruntime-int8": lambda: OnnxRuntime(model, work, threads, "int8.onnx"),
        "openvino-f32": lambda: OpenVino(model, work, threads, "f32.xml", ["f32"]),
        "openvino-bf16": lambda: OpenVino(model, work, threads, "f32.xml", ["bf16"]),
        "openvino-int8": lambda: OpenVino(model, work, threads, "int8.xml", rest),
    }[system]()


def export(model, work):
    import nncf
    import openvino
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModel

    class Embedder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.transformer = AutoModel.from_pretrained(model, attn_implementation="eager")

        def forward(self, input_ids, attention_mask):
            hidden = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
            return torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=1)

    path = lambda name: os.path.join(work, name)  # noqa: E731
    embedder = Embedder().eval()
    ids = torch.randint(1000, 20000, (3, 17))
    mask = torch.ones_like(ids)
    mask[0, 10:] = 0
    sizes = {0: "texts", 1: "tokens"}
    with torch.no_grad():
        torch.onnx.export(embedder, (ids, mask), path("f32.onnx"), dynamo=False, opset_version=17,
                          input_names=["input_ids", "attention_mask"], output_names=["embedding"],
                          dynamic_axes={"input_ids": sizes, "attention_mask": sizes})
        graph = openvino.convert_model(embedder, example_input=(ids, mask))
    quantize_dynamic(path("f32.onnx"), path("int8.onnx"), weight_type=QuantType.QInt8, per_channel=True)
    openvino.save_model(graph, path("f32.xml"), compress_to_fp16=False)

    runner = GraphRunner(model, 1)
    texts = read_texts(path("calibration"))
    data = nncf.Dataset(texts, lambda text: list(runner.batch([runner.tokenizer.encode(text).ids])))
    graph = nncf.quantize(graph, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(texts))
    openvino.save_model(graph, path("int8.xml"), compress_to_fp16=False)


def setting_path(system, threads, work):
    return os.path.join(work, f"{system}-{threads}.setting")


def tune(system, threads, model, work):
    """Batch sizes upwards, until two in a row are a tenth slower than the best of the setting."""
    runner = open_system(system, model, work, threads)
    texts = read_texts(os.path.join(work, "titles"))[:TUNING_TEXTS]
    best, chosen = 0, None
    for setting in runner.settings():
        runner.apply(setting)
        best_here, slower = 0, 0
        for size in BATCH_SIZES:
            speed = max(timed_pass(runner, texts, size) for _ in range(2))
            if speed > best:
                best, chosen = speed, {"setting": setting, "batch_size": size}
            best_here = max(best_here, speed)
            slower = slower + 1 if speed < .9 * best_here else 0
            if slower == 2:
                break
    with open(setting_path(system, threads, work), "w", encoding="utf-8") as file:
        json.dump(chosen, file)


def timed_pass(runner, texts, batch_size):
    start = clock()
    runner.embed(texts, batch_size)
    return len(texts) / (clock() - start)


def single_ms(runner, texts):
    times = []
    for text in texts[:SINGLE_TEXTS]:
        start = clock()
        runner.embed_single(text)
        times.append(clock() - start)
    return 1e3 * statistics.median(times)


def run(system, threads, model, work, outputs):
    with open(setting_path(system, threads, work), encoding="utf-8") as file:
        chosen = json.load(file)
    runner = open_system(system, model, work, threads)
    runner.apply(chosen["setting"])
    for path, output in outputs:
        runner.embed(read_texts(path), chosen["batch_size"]).astype("<f4").tofile(output)
    texts = read_texts(os.path.join(work, "titles"))
    timed_pass(runner, texts, chosen["batch_size"])
    speed = timed_pass(runner, texts, chosen["batch_size"])
    runner.embed_single(texts[0])
    detail = ", ".join([f"batch {chosen['batch_size']}"] + [str(value) for value in chosen["setting"].values()
                                                           if value != 1])
    return {"texts_per_second": speed, "single_ms": single_ms(runner, texts), "detail": detail}


def main():
    global clock
    command = sys.argv[1]
    if command == "versions":
        for package in ("sentence-transformers", "transformers", "torch", "onnxruntime", "openvino", "nncf"):
            print(package, importlib.metadata.version(package))
        return
    if command == "export":
        export(*sys.argv[2:4])
        return
    system, threads, model, work = sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
    os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    if threads == 1 and os.environ.get("CLOCK") == "cpu":
        clock = time.process_time
    if command == "tune":
        tune(system, threads, model, work)
    else:
        outputs = list(zip(sys.argv[6::2], sys.argv[7::2]))
        with contextlib.redirect_stdout(sys.stderr):
            result = run(system, threads, model, work, outputs)
        print(json.dumps(result))


main()
