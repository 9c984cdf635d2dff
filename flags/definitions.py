"""Every flag: name, default, where it counts, help with unit, and the check of its single value. Tables alone.

Names and defaults marked [release] are the release's (docs/release.md, section 11); [ours] are new. Rules between flags stand in
`flags/build/`, the kinds of flags and what their scopes mean in `flags/kinds.py`. No TensorFlow here.
"""

from __future__ import annotations

from data.prepare.config import UNLABELED_CLASSES
from data.tasks import FITS
from flags.kinds import Flag, Scope, choice, folder, folders, number, path, paths, switch, text, texts, whole

MODES = (
    "prepare", "train", "eval", "train_and_eval", "predict", "balance", "iterate", "classify", "robustness", "convert", "export",
    "study",
)  # fmt: skip

# Flags of the release without meaning here: accepted, and one line says so. (gcp_project is a case of its own.)
IGNORED = {
    "master": "TensorFlow 2 finds its cluster by --tpu or TF_CONFIG",
    "num_tpu_cores": "the number of cores is the TPU's own",
    "skip_host_call": "metrics need no host call in TensorFlow 2",
    "data_format": "the network is channels_last, XLA chooses the layout",
    "transpose_input": "XLA chooses the layout",
    "debug": "nothing here says more with it; see the log flags of --helpfull",
    "data_type": "records are always TFRecords",
    "prelim_stats_dir": "--mode=balance needs no files between its two passes",
    "task": "--mode=balance works on all shards in one run",
    "total_label_replicas": "--mode=balance finds every worker's prediction files itself",
}

MIN_TEMPERATURE = 1e-30  # divided by less, logits are too large for a float32

# --- where flags count ----------------------------------------------------------------------------------------------

PREPARE, STUDENT, EVAL, PREDICT, BALANCE = Scope.PREPARE, Scope.STUDENT, Scope.EVAL, Scope.PREDICT, Scope.BALANCE
CLASSIFY, CONVERT, EXPORT, ITERATE = Scope.CLASSIFY, Scope.CONVERT, Scope.EXPORT, Scope.ITERATE
ROBUSTNESS, STUDY = Scope.ROBUSTNESS, Scope.STUDY
RUN, DECIDED, NOWHERE = Scope.RUN, Scope.DECIDED, Scope(0)
# A finetuning trains the student's network from the student's weights: what makes a network of its own is not its to say.
ITS_OWN = Scope.TEACHER | STUDENT
TRAINING = ITS_OWN | Scope.FINETUNE
READY = EVAL | PREDICT | CLASSIFY | ROBUSTNESS | CONVERT | EXPORT  # a network that is trained already
COMPUTING = TRAINING | EVAL | PREDICT | CLASSIFY | ROBUSTNESS  # on devices, batch by batch

# --- checks of numbers ----------------------------------------------------------------------------------------------

POSITIVE = (lambda value: value > 0, "> 0")
AT_LEAST_ZERO = (lambda value: value >= 0, ">= 0")
RATE = (lambda value: 0 <= value < 1, "from 0 to below 1")
PROBABILITY = (lambda value: 0 < value <= 1, "above 0, at most 1")
TEMPERATURE = (
    lambda value: value == -1 or value >= MIN_TEMPERATURE,
    f"of at least {MIN_TEMPERATURE}, or -1 for hard labels",
)

# --- the tables -----------------------------------------------------------------------------------------------------

WHAT_TO_DO = (
    choice("mode", "train_and_eval", MODES, PREPARE | TRAINING | READY | BALANCE | RUN, "What to do. [release]"),
    text(
        "task_name",
        "imagenet",
        PREPARE | TRAINING | READY | BALANCE | RUN,
        "The task: imagenet, svhn, digits or folder. It sets the classes, the image size, mean and deviation, and the splits; "
        "svhn means 32 pixels, small_image_model and 10 classes. If it is not given, it is the task of --data_dir, else the one "
        "that the checkpoint was trained on. [release]",
    ),
    whole(
        "seed",
        0,
        PREPARE | TRAINING | PREDICT | BALANCE | ROBUSTNESS,
        "Every random choice follows from it: splits, weights, order, noise, drawn copies. [ours]",
        0,
    ),
)

FOLDERS = (
    folder(
        "data_dir",
        None,
        PREPARE | TRAINING | READY | BALANCE | RUN,
        "A folder that --mode=prepare wrote, with task.json, labeled/ and unlabeled/. Its parts are the defaults of "
        "--label_data_dir, and of --unlabel_data_dir (balance: --input_dir) if plain unlabeled images are wanted. [ours]",
    ),
    folders(
        "label_data_dir",
        None,
        TRAINING | EVAL | PREDICT | ROBUSTNESS | RUN,
        "Folder of the labeled shards (train-*, test-*, ...); `;` separates several. As in the release, predict reads its "
        "images from here if --unlabel_data_dir is not given. [release]",
    ),
    folders(
        "unlabel_data_dir",
        "",
        STUDENT | PREDICT | RUN,
        "Folder of the unlabeled shards; `;` separates several. A training reads balanced records (train-T-*), or plain images "
        "(train*, extra*) if its teacher is online. predict and iterate read plain images; predict with --reassign_label reads "
        "balanced records. [release]",
    ),
    folder(
        "model_dir",
        None,
        TRAINING | EVAL | CONVERT | DECIDED,
        "Folder of checkpoints, metrics and evaluations. [release]",
    ),
    folder("work_dir", None, ITERATE | RUN, "Folder of all stages, the manifest and the report. [ours]"),
    folder(
        "output_dir",
        None,
        PREDICT | BALANCE | ROBUSTNESS | EXPORT | DECIDED,
        "Folder to write to: the prediction shards, the balanced shards (in data/, with stats.json beside it), the page on "
        "robustness, or the exported files. [release]",
    ),
)

NETWORK = (
    text(
        "model_name",
        "efficientnet-b0",
        ITS_OWN | READY,
        "efficientnet-b0 to efficientnet-b7, or efficientnet-l2. [release]",
    ),
    whole(
        "input_image_size",
        None,
        TRAINING | READY,
        "Side of the square input in pixels; default: the task's, else the variant's own. [release]",
    ),
    whole(
        "num_label_classes",
        1000,
        TRAINING | READY | BALANCE | RUN,
        "Number of classes; if it is not given, the task's. Another number is for imagenet and svhn without a task.json. "
        "[release]",
        2,
    ),
    switch(
        "small_image_model",
        False,
        TRAINING | READY | RUN,
        "For small images: stages 2 and 3 have stride 1, and images enter as they are stored. Tasks of small images turn it on "
        "themselves. [release]",
    ),
    number(
        "width_coefficient",
        None,
        ITS_OWN | READY,
        "Multiplies the channels of b0; default: the variant's. [release]",
        *POSITIVE,
    ),
    number(
        "depth_coefficient",
        None,
        ITS_OWN | READY,
        "Multiplies how often b0 repeats each block; default: the variant's. [release]",
        *POSITIVE,
    ),
    number(
        "dropout_rate",
        None,
        TRAINING | READY,
        "Dropout before the classifier, a fraction; default: the variant's. [release]",
        *RATE,
    ),
    number(
        "stochastic_depth_rate",
        None,
        TRAINING | READY,
        "Stochastic depth: the drop rate of the last block, a fraction; the rate rises linearly from 0 at the first. Default: "
        "0.2. [release]",
        *RATE,
    ),
    whole(
        "fix_layer_num",
        -1,
        TRAINING | READY,
        "k >= 0 freezes the stem and the first k blocks; -1 freezes nothing. [release]",
        0,
        -1,
    ),
    whole(
        "num_shards_per_group",
        -1,
        COMPUTING,
        "Replicas that share batch-norm statistics. -1: each replica has its own if there are at most 8; more share them in "
        "groups of max(8, replicas // 8). [release]",
        1,
        -1,
    ),
)

SCHEDULE = (
    whole(
        "train_steps",
        109474,
        TRAINING,
        "Steps of the schedule, before --train_ratio; the default is 350 epochs of ImageNet at batch 4096. [release]",
    ),
    number(
        "train_ratio",
        1.0,
        TRAINING,
        "Multiplies --train_steps, --train_last_step_num (both are then rounded down) and the epochs between two decays. "
        "[release]",
        *POSITIVE,
    ),
    whole(
        "train_last_step_num",
        -1,
        TRAINING,
        "Train only the last N steps of the schedule, before --train_ratio; -1: all of them. [release]",
        1,
        -1,
    ),
    whole("train_batch_size", 4096, TRAINING, "Labeled images a step, over all replicas. [release]"),
    number(
        "base_learning_rate",
        0.016,
        TRAINING,
        "Learning rate after the warm-up at batch 256; it grows with the batch. [release]",
        *POSITIVE,
    ),
    number(
        "final_base_lr",
        None,
        TRAINING,
        "The rate (at batch 256) that the last step should reach; default: the rate decays by 0.97 every 2.4 epochs x "
        "train_ratio. [release]",
        *POSITIVE,
    ),
    number(
        "moving_average_decay",
        0.9999,
        TRAINING,
        "Largest decay of the averages of weights and batch-norm statistics. [release]",
        *RATE,
    ),
    number(
        "weight_decay",
        1e-5,
        TRAINING,
        "Weight in the loss of half the sum of squares of all weights but batch norm's. [release]",
        *AT_LEAST_ZERO,
    ),
    number(
        "label_smoothing",
        0.1,
        TRAINING,
        "Probability that a hard label spreads over all classes. [release]",
        *RATE,
    ),
    number(
        "label_data_sample_prob",
        1.0,
        TRAINING,
        "Probability that a labeled image counts in the loss, for pods with more cores than labeled images. [release]",
        *PROBABILITY,
    ),
    switch("init_model", False, ITS_OWN, "Start from the weights (the averages) of --init_model_path. [release]"),
    path(
        "init_model_path",
        None,
        ITS_OWN | CONVERT,
        "Checkpoint to start from, or to convert: a prefix or a model_dir, the release's or ours. [release]",
    ),
    switch("reset_head", False, ITS_OWN, "Start with a new classifier instead of the one in --init_model_path. [ours]"),
)

UNLABELED = (
    number(
        "unlabel_ratio",
        0.0,
        STUDENT,
        "Unlabeled images for each labeled one in a batch, and the weight of their loss; 0 trains on labeled images alone. In "
        "iterate it stands in --rounds. [release]",
        *AT_LEAST_ZERO,
    ),
    number(
        "teacher_softmax_temp",
        -1.0,
        TRAINING,
        "Temperature of the soft pseudo labels; -1: hard ones. [release]",
        *TEMPERATURE,
    ),
    switch(
        "unlabeled_only",
        False,
        STUDENT,
        "Train on pseudo-labeled images alone (an epoch is still one of the labeled images). In iterate this holds for the "
        "students; with --finetune, which then trains on the labeled images, it is the paper's pretraining and finetuning. "
        "[ours]",
    ),
    choice(
        "student_start",
        "scratch",
        ("scratch", "teacher"),
        STUDENT,
        "Where a student's weights come from: scratch, or its teacher, which must be of the same architecture. (Any other "
        "checkpoint: --init_model.) [ours]",
    ),
    text(
        "teacher_model_name",
        None,
        STUDENT | RUN,
        "The online teacher's network; default: no online teacher. iterate: the network of the ready-made teacher if no "
        "model.json says it. [release]",
    ),
    path(
        "teacher_model_path",
        None,
        STUDENT | RUN,
        "The online teacher's checkpoint: a prefix or a model_dir. iterate: a ready-made teacher to begin with; then none is "
        "trained. [release]",
    ),
    texts(
        "rounds",
        ITERATE | RUN,
        "The students in order, as MODEL:RATIO or @FILE; may be repeated. MODEL:RATIO is a network and its --unlabel_ratio; "
        "commas separate several: efficientnet-b0:4,efficientnet-b1:4. FILE is a flag file with the student's own flags: "
        "--model_name, --unlabel_ratio and what else differs from the command line. They hold for the whole round: its labels, "
        "their balancing, its training. A relative path counts from the flag file that names it, else from the current folder. "
        "The teacher is --model_name. [ours]",
    ),
    number(
        "minutes",
        None,
        ITS_OWN | RUN,
        "Of one's own pictures: how long the whole run may take on this machine, about; what is not given is chosen so, "
        "once some steps were measured. Default: what the pictures and the kind of machine want. [ours]",
        *POSITIVE,
    ),
    text(
        "finetune",
        None,
        ITERATE,
        "A flag file. After each student, train on from its weights, on the labeled images alone, with the student's flags but "
        "those of this file (--input_image_size=800, --train_last_step_num=938, ...). The result is the next teacher. A "
        "student's flag file may name another one, or none: --finetune=. A relative path counts as in --rounds. [ours]",
    ),
)

NOISE = (
    text(
        "augment_name",
        None,
        TRAINING | PREDICT,
        "v1: RandAugment; none (the default): crops and flips alone. [release]",
    ),
    text(
        "unl_aug",
        "default",
        TRAINING,
        "Augmentation of the unlabeled images: v1, none, or default, which is what --augment_name says. [release]",
    ),
    whole(
        "randaug_mag",
        27,
        TRAINING | PREDICT,
        "RandAugment's magnitude; its tables are made for 0 to 10, more is allowed. [release]",
        0,
    ),
    whole("randaug_layer", 2, TRAINING | PREDICT, "How many of RandAugment's operations an image gets. [release]"),
    switch("cutout_op", True, TRAINING | PREDICT, "Cutout is one of RandAugment's operations. [release]"),
    switch("unl_dropout", True, TRAINING, "Dropout holds for unlabeled images too, not for labeled ones alone. [ours]"),
    switch(
        "unl_stochastic_depth",
        True,
        TRAINING,
        "Stochastic depth holds for unlabeled images too, not for labeled ones alone. [ours]",
    ),
    switch(
        "noise_teacher",
        False,
        STUDENT | PREDICT,
        "The teacher predicts under the noise of a training: crops, --augment_name, dropout and stochastic depth. In predict, "
        "an image's noise follows from --seed and its bytes alone; an online teacher's is new at every step. [ours]",
    ),
    switch(
        "remove_aug", False, TRAINING, "Train on the centre crop that evaluation uses, without augmentation. [release]"
    ),
)

DATA = (
    whole(
        "num_train_images",
        None,
        TRAINING,
        "Labeled images of an epoch; default: the task's number, else they are counted. [release]",
    ),
    whole(
        "num_eval_images",
        None,
        TRAINING | EVAL | ROBUSTNESS,
        "Images to evaluate, of any split but test; default: all. [release]",
    ),
    whole(
        "num_test_images",
        None,
        PREPARE | TRAINING | EVAL | ROBUSTNESS,
        "Images of the split test to evaluate; default: all. prepare: how many images to hold out; default: 500 of the digits, "
        "none of a folder (which may have its own in test/). [release]",
    ),
    whole("num_train_shards", None, TRAINING, "Use only the first N labeled shards; default: all. [release]"),
    switch("use_cache", True, TRAINING, "Keep small sets of encoded records in memory. [release]"),
    switch(
        "even_classes",
        False,
        TRAINING,
        "Draw the labeled images evenly by class where their numbers are uneven, not evenly by image. [ours]",
    ),
    switch(
        "skip_corrupt_records",
        False,
        TRAINING | EVAL | PREDICT | ROBUSTNESS,
        "Count records that cannot be read and go on, instead of stopping. [ours]",
    ),
    folder(
        "source_dir",
        None,
        PREPARE,
        "Folder of the files that a task is made of. For --task_name=folder: labeled/<class>/*, unlabeled/** and, if you have "
        "them, test/<class>/*; for svhn and imagenet: the official files. iterate prepares them first. [ours]",
    ),
    switch("download", False, PREPARE, "Fetch the task's official files into --source_dir (svhn alone). [ours]"),
    whole(
        "num_processes",
        0,
        PREPARE | ROBUSTNESS,
        "Processes that decode or corrupt images; 0: one for each core. [ours]",
        0,
    ),
    whole(
        "num_labeled",
        40,
        PREPARE,
        "Of the digits: how many training images keep their label, the same number of every class; the rest is unlabeled. "
        "[ours]",
    ),
    whole(
        "known_classes",
        10,
        PREPARE,
        "Of the digits: only the first so many classes are labeled and tested. Images of the others are out of domain. [ours]",
    ),
    choice(
        "unlabeled_classes",
        "all",
        UNLABELED_CLASSES,
        PREPARE,
        "Of the digits: the unlabeled images are those of all classes, of the known ones, or of the unknown ones. [ours]",
    ),
    switch(
        "flip",
        None,
        PREPARE,
        "Of a folder: mirrored images keep their class, so trainings mirror half of them. --noflip if they do not: arrows, left "
        "and right hands. Default: no if pictures can be told from their mirror images, as text and digits can. [ours]",
    ),
    choice(
        "fit",
        "crop",
        FITS,
        PREPARE,
        "Of a folder: how an image that is no square becomes one, in training, prediction, classify and export. crop: its middle "
        "is seen; pad: grey is added; stretch: it is distorted. [ours]",
    ),
)

EVALUATION = (
    text(
        "eval_split",
        None,
        TRAINING | EVAL | ROBUSTNESS,
        "Split to evaluate; default: the task's (imagenet: validation; the others: test). [ours]",
    ),
    whole("eval_batch_size", 8, COMPUTING, "Images a step on each replica, in evaluation and prediction. [release]"),
    whole("steps_per_eval", 3000, TRAINING, "train_and_eval: steps between two evaluations. [release]"),
    switch(
        "use_averages",
        True,
        COMPUTING | EXPORT,
        "Evaluate, predict and export with the averages of the weights, as the release does, not with the raw ones. [ours]",
    ),
)

PREDICTION = (
    path(
        "predict_ckpt_path",
        None,
        PREDICT | CLASSIFY | EXPORT | DECIDED,
        "The checkpoint: a prefix or a model_dir. [release]",
    ),
    paths(
        "input_files", CLASSIFY, "An image file, or a folder, of which all images are taken; may be repeated. [ours]"
    ),
    path("output_csv", None, CLASSIFY, "File for a row an image; default: the terminal alone. [ours]"),
    folder("info_dir", None, PREDICT | DECIDED, "Folder of the counts; default: --output_dir. [release]"),
    text(
        "file_prefix",
        "train",
        PREDICT | BALANCE | RUN,
        "Unlabeled shards are named PREFIX-SSSSS-of-NNNNN. If it is not given and --data_dir holds only shards named extra-* "
        "(svhn), it is extra. [release]",
    ),
    whole(
        "num_shards",
        128,
        PREPARE | PREDICT | BALANCE | RUN,
        "NNNNN: how many shards the unlabeled images have; if it is not given, as many as --data_dir holds. prepare: how many "
        "to write; if it is not given, 4. [release]",
    ),
    text("shard_id", "0", PREDICT | DECIDED, "Shards to do, e.g. 0 or 0,5,7; all: every one. [release]"),
    whole("total_replicas", 1, PREDICT | DECIDED, "Workers that share each shard. [release]"),
    whole(
        "worker_id",
        0,
        PREDICT | DECIDED,
        "This worker, counted from 0; of each shard it takes every total_replicas-th record. [release]",
        0,
    ),
    switch("reassign_label", False, PREDICT | DECIDED, "Label balanced records again, with a new teacher. [release]"),
    whole("samples_per_class", 30, PREDICT, "Images of each class that are saved as JPEGs to look at. [ours]", 0),
    whole(
        "store_top_k",
        0,
        PREDICT,
        "Store only the K most probable classes of a soft label; the rest of the probability is spread evenly over the others. "
        "With 1000 classes, K = 3 takes about a hundredth of the space; 0 stores all. Balance and training read both. [ours]",
        0,
    ),
    switch("export_tf1", False, EXPORT, "Also write a checkpoint with the release's names. [ours]"),
)

ROBUST = (
    paths(
        "checkpoints",
        ROBUSTNESS,
        "A network to measure: a checkpoint prefix or a model_dir; repeat the flag for several, the teacher first. [ours]",
    ),
    text(
        "robustness",
        None,
        ROBUSTNESS | ITERATE | RUN,
        "What to measure, separated by commas. On the task's own test pictures: generated (corruptions and perturbations), fgsm, "
        "pgd. Published sets: a, c, p, r, o, v2, real, sketch. In iterate a last stage measures the teacher and every student. "
        "[ours]",
    ),
    folder(
        "robustness_dir",
        None,
        ROBUSTNESS | ITERATE | RUN,
        "Folder of the published sets, as their archives unpack, or the tar files. [ours]",
    ),
    whole(
        "every",
        1,
        ROBUSTNESS | ITERATE | RUN,
        "Show only the first picture of each N, always the same ones; the page says so. [ours]",
    ),
    text(
        "epsilons",
        "0,2,4,8,16",
        ROBUSTNESS | ITERATE | RUN,
        "fgsm, pgd: by how many of 255 levels a pixel may change, separated by commas. [ours]",
    ),
    whole("pgd_steps", 10, ROBUSTNESS | ITERATE | RUN, "How many steps PGD takes. [ours]"),
    number(
        "pgd_step_size",
        None,
        ROBUSTNESS | ITERATE | RUN,
        "Step of PGD in levels of 0..255; default: 2.5 epsilon / steps. [ours]",
        *POSITIVE,
    ),
    switch(
        "pgd_random_start",
        True,
        ROBUSTNESS | ITERATE | RUN,
        "PGD starts anywhere in the epsilon ball, not at the picture. [ours]",
    ),
    switch("pgd_targeted", False, ROBUSTNESS | ITERATE | RUN, "PGD pulls towards a random wrong class. [ours]"),
)

BALANCING = (
    folders("input_dir", None, BALANCE | DECIDED, "Folder of the shards that were predicted on. [release]"),
    folders("prediction_dir", None, BALANCE | DECIDED, "Folder of the prediction shards. [release]"),
    whole("num_image", 1300, BALANCE, "Records of every class that has any candidate. [release]"),
    number(
        "min_threshold",
        0.0,
        BALANCE,
        "Smallest confidence of a candidate; the paper's is 0.3. [release]",
        *AT_LEAST_ZERO,
    ),
    number("max_prob", 2.0, BALANCE, "Largest confidence of a candidate. [release]", *POSITIVE),
    switch(
        "upsample",
        True,
        BALANCE,
        "Duplicate images of a class that has fewer candidates than --num_image. [release]",
    ),
    switch("use_all", False, BALANCE, "Keep every candidate, once. [release]"),
    switch("only_get_stats", False, BALANCE | DECIDED, "Write counts and thresholds, no records. [release]"),
    whole("only_use_num_shards", -1, BALANCE, "Use only the first N shards; -1: all. [release]", 1, -1),
    texts(
        "beam_args",
        BALANCE,
        "An argument for Apache Beam, e.g. --beam_args=--runner=DataflowRunner; may be repeated. Default: Beam's direct runner, "
        "with one process for each core. [ours]",
    ),
)

DEVICES = (
    switch("use_tpu", True, COMPUTING, "Use a TPU; if there is none, a line says what is used instead. [release]"),
    text("tpu", None, COMPUTING, "Name or grpc:// address of the TPU, or `local` on a TPU VM. [release]"),
    text("tpu_zone", None, COMPUTING, "Zone of the TPU; default: it is looked up. [release]"),
    text("gcp_project", None, COMPUTING, "Project of the TPU; default: it is looked up. [release]"),
    switch(
        "use_bfloat16",
        True,
        COMPUTING,
        "Activations in bfloat16, variables in float32. If it is not given: on hardware that has it (TPU, GPU). [release]",
    ),
    switch(
        "remat",
        False,
        TRAINING,
        "Compute each block's activations again in the backward pass instead of keeping them: the same gradients in a fraction "
        "of the memory, for about a third more time. [ours]",
    ),
    whole("iterations_per_loop", 1000, TRAINING, "Steps in one compiled loop, at most. [release]"),
    whole("log_step_count_steps", 64, TRAINING, "Steps between two lines of metrics. [release]"),
    text(
        "profile_steps",
        None,
        TRAINING,
        "FIRST,LAST: write a TensorFlow profile of the steps after FIRST up to LAST into --model_dir; TensorBoard shows it. "
        "[ours]",
    ),
    whole("save_checkpoints_steps", 1000, TRAINING, "Steps between two checkpoints. [release]"),
    whole("keep_checkpoint_max", 5, TRAINING, "Checkpoints to keep; 0 keeps all. [release]", 0),
)

_BECAUSE = {name: f"Accepted and ignored: {reason}. [release]" for name, reason in IGNORED.items()}

WITHOUT_MEANING = (
    text("master", None, NOWHERE, _BECAUSE["master"]),
    whole("num_tpu_cores", None, NOWHERE, _BECAUSE["num_tpu_cores"], 0),
    switch("skip_host_call", False, NOWHERE, _BECAUSE["skip_host_call"]),
    text("data_format", "channels_last", NOWHERE, _BECAUSE["data_format"]),
    switch("transpose_input", True, NOWHERE, _BECAUSE["transpose_input"]),
    whole("debug", 0, NOWHERE, _BECAUSE["debug"], 0),
    text("data_type", "tfrecord", NOWHERE, _BECAUSE["data_type"]),
    text("prelim_stats_dir", "", NOWHERE, _BECAUSE["prelim_stats_dir"]),
    whole("task", -1, NOWHERE, _BECAUSE["task"], -1),
    whole("total_label_replicas", -1, NOWHERE, _BECAUSE["total_label_replicas"], -1),
)

STUDIES = (
    texts(
        "study",
        STUDY,
        "A study of the paper (noise, iteration, teacher, unlabeled, labels, student, balance, joint, ratio, start, threshold), "
        "all, or a .toml file of your own (docs/studies.md); may be repeated. The other flags describe the run that its arms "
        "change, as for --mode=iterate. [ours]",
    ),
    text("seeds", "0,1,2,3,4", STUDY, "Every arm is trained with each of these values of --seed. [ours]"),
    whole("parallel", 1, STUDY, "Processes that share the seeds. [ours]"),
    folder(
        "results_dir",
        None,
        STUDY,
        "Where the result of each arm and seed is kept, a small file; what has one is not trained again, on whatever machine. "
        "Default: results/ in --work_dir. [ours]",
    ),
)

GROUPS: dict[str, tuple[Flag, ...]] = {
    "What to do": WHAT_TO_DO,
    "Folders": FOLDERS,
    "Network": NETWORK,
    "Training: schedule and loss": SCHEDULE,
    "Training: unlabeled images and rounds": UNLABELED,
    "Training: noise": NOISE,
    "Data": DATA,
    "Evaluation": EVALUATION,
    "Robustness": ROBUST,
    "Prediction and export": PREDICTION,
    "Filter and balance": BALANCING,
    "Studies": STUDIES,
    "Devices, logs and checkpoints": DEVICES,
    "Of the release, without meaning here": WITHOUT_MEANING,
}

SCOPES: dict[str, Scope] = {flag.name: flag.scope for group in GROUPS.values() for flag in group}
