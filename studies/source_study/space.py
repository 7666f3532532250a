"""The source study on MoNuSeg, one of its own three data sets, at a size for one CPU core.

Question: what of the claims of Öttl et al. (arXiv 2403.14440) holds on nuclei of 14 test patients,
with small networks? EnsemDiff, SegDiff and MedSegDiff are trained as `diffusion` and as
`feedforward`, with the same parameters, seeds, crops and number of steps, before which only the
twin may end (`train.patience`). SegDiff has twice the steps of the others, in all its modes,
because its diffusion learns longest. The other arms are `views`, the twin averaged over the eight
symmetries of the image, which reads the twin's weights; `deep_ensemble`, the mean of three twins
with independent seeds; `segformer`, MiT-B0 with random initial weights; `nnunet`, the network that
its own planner makes for 0.1 GB of GPU memory, trained by its own rules for half of the steps,
which is three to five times the time of a twin; and `grey_level`, the most frequent class of each
grey level.

The images are those of the challenge at half size, 500 × 500: 24 for training, 6 for validation and
14 for test, one per patient, in the folder `monuseg` below `$SEGPRINT_DATA`; docs/data.md describes
its layout. Networks see them at 256 × 256, and their masks are scored at 500 × 500. No picture is
stored. `segformer` and `nnunet` need `make baselines`.

Cost: about 4 hours on one idle CPU core (39 trials, which read 33 trainings).

Expected: networks of 0.2 million parameters reach a Dice of 0.79. The mean Dice of diffusion is a
little below that of its twin, which counts for MedSegDiff only, and MedSegDiff is better
calibrated. nnU-Net in a thousand steps has a lower mean than diffusion, which does not count, and
SegFormer without pretraining is far below. docs/findings.md has the verdicts.
"""

from search_spaces import Each, Space

UNET = {"channels": 8, "multipliers": [1, 2, 2, 4], "blocks": 1, "attention": []}
DENSE = {"dense_blocks": 1, "dense_features": 8, "dense_growth": 4}
MODES: dict[str, dict[str, object]] = {
    "feedforward": {"mode": {"feedforward": {}}},
    "views": {"mode": {"feedforward": {"members": 8}}},
    "diffusion": {
        "mode": {
            "diffusion": {
                "sampler": {"ddim": {"steps": 5}},
                "members": 4,
            }
        },
        "probe": {"bins": 8, "draws": 1},
        # The Dice of few samples varies: it can rise again after five validations without a gain.
        "train.patience": 0,
    },
}
SEGDIFF = {"model": {"segdiff": {**UNET, **DENSE}}, "train.steps": 4000}

SPACE = Space(
    question="What of the source study's claims holds on MoNuSeg, with small networks?",
    config={
        "task": {"monuseg": {"at": "monuseg", "size": 64, "longest": 256}},
        "model": Each({"ensemdiff": UNET}, {"medsegdiff_new": UNET}),
        "train": {
            "steps": 2000,
            "batch": 4,
            "learning_rate": 2e-3,
            "validate_every": 100,
            "patience": 5,
        },
        "test": {"overlap": 0.0, "pictures": 0},
        "probe": {"bins": 0},
    },
    arms={
        "grey_level": {
            "model": {"intensity": {"levels": 64}},
            "mode": {"feedforward": {}},
            "train.steps": 0,
        },
        **MODES,
        **{f"segdiff_{name}": {**arm, **SEGDIFF} for name, arm in MODES.items()},
        "segformer": {
            "model": {"segformer": {}},
            "mode": {"feedforward": {}},
            "train.learning_rate": 6e-4,
        },
        "nnunet": {
            "model": {"nnunet": {"iterations": 20, "memory": 0.1}},
            "mode": {"feedforward": {}},
            "train.steps": 1000,
            # Its own rules decide these, which keep their defaults.
            "train.batch": 16,
            "train.learning_rate": 1e-3,
            "train.patience": 0,
        },
        "deep_ensemble": {
            "model": {"ensemdiff": UNET},
            "mode": {"deep_ensemble": {"networks": 3}},
        },
    },
    replicates=3,
)
