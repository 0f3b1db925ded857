"""The cases of `same_bits.py`: configs as plain trees, by group. Each case trains about 25 steps on a few
small rows.

A tree holds only the fields that its case needs, so that it stays valid if other fields are removed. A case
may refer to the run of an earlier case of its group as `{run:NAME}`.
"""

ROWS = {"n": 208, "batch": 16, "steps": 25}  # 13 batches an epoch, so the second one ends early
SHAPES = f"synthetic:shapes?n={ROWS['n']}&size=12&classes=4&noise=.1"
FEW_SHAPES = "synthetic:shapes?n=208&size=12&classes=3&shift=.3"
BLOBS = f"synthetic:blobs?n={ROWS['n'] // 2}&sd=.6"
MOONS = f"synthetic:moons?n={ROWS['n'] // 2}"
VIEWS = {"crop": 0.5, "color": 0.4, "flip": "horizontal"}
MIXED = {"precision": "mixed_bfloat16"}
MIRRORED = {"strategy": "mirrored", "devices": 2}
ADAMW = {"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.01}
CHANGED = {"flip": "both", "rotation": 10, "color": 0.2, "randaugment": 1, "cutout": 0.2, "noise": 4}

METHODS = (
    "dann", "cdan", "cdan_e", "pada", "adda", "wasserstein", "dan", "jan", "deep_coral", "mean_distance",
    "afn", "mcc", "bnm", "mcd", "mdd", "adamatch",
)  # fmt: skip


def images(source: str = SHAPES, **more) -> dict:
    """Returns the data of a domain of small pictures."""
    return {"source": source, "image_size": 12, "batch_size": ROWS["batch"], **more}


def vectors(source: str = BLOBS, **more) -> dict:
    """Returns the data of a domain of vectors."""
    return {"source": source, "batch_size": ROWS["batch"], **more}


def stage(**more) -> dict:
    """Returns a stage that trains all of the network."""
    sgd = {"name": "sgd", "learning_rate": 0.02, "options": {"momentum": 0.9}}
    return {"name": "tune", "train": "all", "bn": "train", "steps": ROWS["steps"], "optimizer": sgd, **more}


def optimized(**more) -> dict:
    """Returns such a stage with Adam and settings of its gradients."""
    return stage(optimizer={"name": "adam", "learning_rate": 0.01, **more})


def head(**more) -> dict:
    """Returns a stage that trains only the head."""
    return stage(name="head", train="head", bn="frozen", **more)


def cnn(**more) -> dict:
    """Returns a network for the pictures."""
    small = {"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [4, 6, 8]}}
    return {**small, **more}


def mlp(**more) -> dict:
    """Returns a network for the vectors, with dropout and BatchNormalization."""
    options = {"units": [8, 6], "dropout": 0.2, "batch_norm": True}
    return {"backbone": "mlp", "weights": None, "backbone_options": options, **more}


def experiment(*stages: dict, data: dict | None = None, **more) -> dict:
    """Returns the config of a run on pictures. Its best model is that of its last step."""
    tree = {
        "data": data or images(), "model": cnn(), "stages": list(stages) or [stage()],
        "checkpoint": {"monitor": "last_step"}, "tensorboard": {"images": False},
    }  # fmt: skip
    return {**tree, **more}


def on_vectors(*stages: dict, data: dict | None = None, **more) -> dict:
    """Returns the config of a run on vectors."""
    return experiment(*stages, data=data or vectors(), **{"model": mlp(), **more})


def adapting(method: str, *stages: dict, runtime: dict | None = None, **more) -> dict:
    """Returns the config of an adaptation to pictures that are close to the negatives of the source's."""
    adaptation = {"method": method, "target": images(f"{SHAPES}&shift=.6"), "twin": False, **more}
    return experiment(*stages, adaptation=adaptation, runtime=runtime or {})


def regularized(name: str, weight: float | None = None, **more) -> dict:
    """Returns a stage with a regularizer."""
    options = more.pop("options", {})
    return stage(regularizer={"name": name, "weight": weight, "options": options}, **more)


def tasks(strategy: str, *stages: dict, runtime: dict | None = None, **more) -> dict:
    """Returns the config of two tasks. The source has three classes and a head of two layers."""
    source = {"strategy": strategy, "source": images(FEW_SHAPES), "head": {"name": "mlp", "units": [5]}}
    if strategy != "share_gradients":
        source["stages"] = [stage(name="source")]
    return experiment(*stages, tasks={**source, **more}, runtime=runtime or {})


def sharing(*stages: dict, runtime: dict | None = None, **more) -> dict:
    """Returns the config of two tasks that train together."""
    return tasks("share_gradients", *stages, runtime=runtime, **more)


def pretext(name: str, runtime: dict | None = None, **more) -> dict:
    """Returns the config of a run with a pretext task."""
    rotates = name == "rotation"
    model = cnn() if rotates else cnn(head={"name": "mlp", "units": [10]})
    task = {"name": name} if rotates else {"name": name, "dimensions": 6}
    one = stage(augment={} if rotates else VIEWS, **more)
    return experiment(one, data=images(pretext=task), model=model, runtime=runtime or {})


def probe(name: str, mapping: str | None = None, **options) -> dict:
    """Returns a stage whose head is fitted by scikit-learn."""
    wanted = {"name": name, "options": options}
    if mapping:
        wanted["mapping"] = {"name": mapping, "options": {"dimensions": 4} if "subspace" in mapping else {}}
    return {"name": "probe", "train": "head", "probe": wanted}


def mapped(mapping: str) -> dict:
    """Returns the config of a probe on source features that are mapped to those of the target."""
    return adapting("none", probe("logistic_regression", mapping))


FINE_TUNING = {
    "plain": experiment(),
    "several steps per call": experiment(stage(steps_per_call=5)),
    "head on cached features, then all": experiment(head(), stage()),
    "last block": experiment(stage(train="last:1", bn="inference")),
    "gradual": experiment(stage(gradual=True, steps=8, bn="frozen")),
    "vectors": on_vectors(),
    "one logit": on_vectors(data=vectors(task="binary")),
    "augmented": experiment(stage(augment=CHANGED)),
    "mixup": experiment(stage(augment={"mixup": 0.3})),
    "cutmix": experiment(stage(augment={"cutmix": 1.0})),
    "label smoothing": experiment(stage(label_smoothing=0.1)),
    "class weights balanced": experiment(stage(class_weights="balanced")),
    "class weights given": experiment(stage(class_weights=[1, 2, 0.5, 3])),
    "layer decay": experiment(stage(layer_decay=0.5, learning_rate_multipliers={"head": 3.0})),
    "adamw, cosine": experiment(
        stage(optimizer={**ADAMW, "schedule": {"name": "cosine", "warmup_steps": 5}})
    ),
    "clipped": experiment(optimized(global_clipnorm=0.1)),
    "accumulated": experiment(optimized(accumulate_steps=3)),
    "moving average": experiment(optimized(ema_momentum=0.9)),
    "accumulated, clipped, averaged": experiment(
        optimized(accumulate_steps=2, clipnorm=0.1, ema_momentum=0.9)
    ),
    "mixed bfloat16": experiment(runtime=MIXED),
    "mixed float16": experiment(runtime={"precision": "mixed_float16"}),
    "mlp head, bottleneck": experiment(
        model=cnn(neck={"bottleneck": 6, "dropout": 0.2}, head={"name": "mlp", "units": [7], "dropout": 0.1})
    ),
    "cosine head, branches": experiment(
        model=cnn(neck={"branches": [{"units": [5]}, {"units": [4]}]}, head={"name": "cosine"})
    ),
    "adapter": on_vectors(model=mlp(adapter={"units": [5]})),
}

ADAPTATION = {name: adapting(name) for name in METHODS} | {
    "none": adapting("none"),
    "dann with its twin": adapting("dann", twin=True),
    "dann, domain statistics": adapting("dann", batch_norm="domain_specific"),
    "target statistics alone": adapting("none", batch_norm="adabn"),
    "dann, two sources, two targets": adapting(
        "dann",
        more_sources=[images(f"{SHAPES}&shift=.2")], more_targets=[images(f"{SHAPES}&shift=.8")],
    ),
    "dann, a few target labels": adapting(
        "dann", target_labelled=images(f"{SHAPES}&shift=.6", per_class=4, limit={"val": 8, "test": 8})
    ),
    "dann, several steps per call": adapting("dann", stage(steps_per_call=5)),
    "dann, accumulated, averaged": adapting("dann", optimized(accumulate_steps=2, ema_momentum=0.9)),
    "dann, mixed": adapting("dann", runtime=MIXED),
    "dann, mixed float16": adapting("dann", runtime={"precision": "mixed_float16"}),
    "cdan_e, warm start": adapting("cdan_e", strength={"schedule": "warm_start"}, weight=0.5),
    "dann after a stage without": adapting("dann", stage(name="first", adapt=False), stage(name="second")),
    "dann on vectors": on_vectors(
        data=vectors(MOONS),
        adaptation={"method": "dann", "target": vectors(f"{MOONS}&angle=35"), "twin": False},
    ),
}  # fmt: skip

REGULARIZERS = {
    "source": experiment(data=images(FEW_SHAPES)),
    "teacher": experiment(),
    "l2_sp": experiment(regularized("l2_sp", 0.1)),
    "delta": experiment(regularized("delta", 0.1)),
    "bss": experiment(regularized("bss", 0.01)),
    "stochastic_norm": experiment(regularized("stochastic_norm")),
    "mixout": experiment(regularized("mixout")),
    "lora": experiment(regularized("lora", options={"rank": 2})),
    "co_tuning": experiment(regularized("co_tuning"), model=cnn(weights="{run:source}")),
    "distillation": experiment(regularized("distillation", options={"teacher": "{run:teacher}"})),
    "l2_sp in the second stage": experiment(head(), regularized("l2_sp", 0.1)),
    "l2_sp, class weights": experiment(regularized("l2_sp", 0.1, class_weights="balanced")),
    "l2_sp, accumulated": experiment(
        optimized(accumulate_steps=3) | {"regularizer": {"name": "l2_sp", "weight": 0.1}}
    ),
    "mixout, averaged": experiment(optimized(ema_momentum=0.9) | {"regularizer": {"name": "mixout"}}),
    "lora, mixed": experiment(regularized("lora"), runtime=MIXED),
    "distillation, mixed": experiment(
        regularized("distillation", options={"teacher": "{run:teacher}"}), runtime=MIXED
    ),
}

TASKS = {
    "fix_common": tasks("fix_common"),
    "share_weights": tasks("share_weights"),
    "private_first": tasks("private_first"),
    "share_gradients": sharing(weight=0.5),
    "alternating": sharing(batches="alternating"),
    "alternating, accumulated": sharing(
        optimized(accumulate_steps=2, global_clipnorm=0.5), batches="alternating"
    ),
    "share_gradients, accumulated, averaged": sharing(optimized(accumulate_steps=2, ema_momentum=0.9)),
    "share_gradients, mixed": sharing(runtime=MIXED),
    "share_gradients, with adapters": on_vectors(
        model=mlp(adapter={"units": [6]}),
        tasks={"strategy": "share_gradients", "source": vectors(MOONS), "adapter": {"units": [6]}},
    ),
    "rotation beside the target": sharing(
        source=images(FEW_SHAPES, pretext={"name": "rotation"}), head={"name": "linear"}
    ),
}

PRETEXTS_AND_PROBES = {
    "rotation": pretext("rotation"),
    "simclr": pretext("simclr"),
    "simclr, mixed": pretext("simclr", runtime=MIXED),
    "rotation, then the target": tasks(
        "share_weights", source=images(FEW_SHAPES, pretext={"name": "rotation"}), head={"name": "linear"}
    ),
    "logistic_regression": experiment(probe("logistic_regression", C=0.5)),
    "linear_svm": experiment(probe("linear_svm")),
    "prototypes": experiment(probe("prototypes")),
    "knn": experiment(probe("knn"), model=cnn(head={"name": "neighbors", "neighbors": 3})),
    "coral": mapped("coral"),
    "subspace_alignment": mapped("subspace_alignment"),
    "linear_map": mapped("linear_map"),
    "probe, then all": experiment(probe("logistic_regression"), stage()),
}

TWO_REPLICAS = {
    "plain": experiment(runtime=MIRRORED),
    "several steps per call": experiment(stage(steps_per_call=5), runtime=MIRRORED),
    "vectors with dropout": on_vectors(runtime=MIRRORED),
    "statistics over replicas": experiment(runtime=MIRRORED | {"sync_batch_norm": True}),
    "class weights": experiment(stage(class_weights=[1, 2, 0.5, 3]), runtime=MIRRORED),
    "accumulated, clipped, averaged": experiment(
        optimized(accumulate_steps=2, global_clipnorm=0.1, ema_momentum=0.9), runtime=MIRRORED
    ),
    "mixed": experiment(runtime=MIRRORED | MIXED),
    "dann": adapting("dann", runtime=MIRRORED),
    "wasserstein": adapting("wasserstein", runtime=MIRRORED),
    "adamatch": adapting("adamatch", runtime=MIRRORED),
    "mcc": adapting("mcc", runtime=MIRRORED),
    "l2_sp": experiment(regularized("l2_sp", 0.1), runtime=MIRRORED),
    "mixout": experiment(regularized("mixout"), runtime=MIRRORED),
    "lora": experiment(regularized("lora"), runtime=MIRRORED),
    "share_gradients": sharing(runtime=MIRRORED),
    "alternating": sharing(batches="alternating", runtime=MIRRORED),
    "simclr": pretext("simclr", runtime=MIRRORED),
}

GROUPS = {
    "fine-tuning": FINE_TUNING,
    "adaptation": ADAPTATION,
    "regularizers": REGULARIZERS,
    "two tasks": TASKS,
    "pretexts and probes": PRETEXTS_AND_PROBES,
    "two replicas": TWO_REPLICAS,
}
