"""All that a server and an engine worker say to each other.

Frozen, free of tensors and text: token ids in, token ids out. `framing.py` carries them as msgpack over
a socketpair; a command is one of `Command`, and a frame from the worker is a list of `Event`.
Times are in seconds on the worker's monotonic clock, sizes in bytes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length", "cancelled", "timeout"]
KVType = Literal["f16", "f32", "q8"]
Activations = Literal["q16", "q8"]
Policy = Literal["fair", "fcfs"]
Priority = Literal["low", "normal", "high"]

STEP_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the classes in which step times are counted; one class more holds those above."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How a request's tokens are drawn. The order of the filters is the order of the fields.

    `seed` is always set, by the service where the caller gave none: the same request with the same
    seed draws the same tokens, whoever is served beside it.
    """

    logit_bias: dict[int, float] = {}
    """Added to the logits of these token ids."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens in prompt or answer (Keskar et al., 2019)."""
    presence_penalty: float = 0.0
    """Taken once from the logit of each token that the answer holds already."""
    frequency_penalty: float = 0.0
    """Taken from the logit of a token for each time the answer holds it."""
    temperature: float = 0.7
    """0 is greedy."""
    top_k: int = 0
    """Keep the k likeliest; 0 keeps all."""
    top_p: float = 0.9
    """Keep the fewest likeliest tokens that together reach this probability (Holtzman et al., 2020)."""
    min_p: float = 0.0
    """Keep tokens at least this share as likely as the likeliest."""
    seed: int = 0
    """0 to 2**64 - 1."""
    logprobs: int | None = None
    """None reports no log-probabilities; n reports the token's own and the n likeliest, before filtering."""


# ---- commands: server to worker -------------------------------------------------------------------


class Scheduling(msgspec.Struct, frozen=True, kw_only=True):
    """How a model's time is shared out."""

    policy: Policy = "fair"
    """"fcfs" serves in order of arrival whoever asks: the measure of what fairness costs."""
    step_budget_s: float | None = None
    """The gap that a running answer may feel while prompts are read; None: see `budget.py`."""
    max_running: int = 64
    """Most requests that hold pages at once."""
    prefix_cache: bool = True
    """Whether what prompts have in common is computed once."""
    lookup: bool = True
    """Whether answers that quote their prompt are guessed ahead and verified."""


class Load(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The first command, once: load this file. Answered by `Progress`* and then `Loaded` or `LoadFailed`."""

    path: str
    context_length: int
    """The longest sequence, prompt and answer together, in tokens."""
    kv_tokens: int
    """Tokens that the KV cache holds for all sequences together."""
    kv_type: KVType = "f16"
    activations: Activations = "q16"
    threads: int = 0
    """0: as many as processors are given to this process."""
    max_batch_tokens: int = 512
    """Most rows that one step computes."""
    scheduling: Scheduling = Scheduling()


class Generate(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Answer these tokens. Ends with exactly one `Finished` or `Failed`."""

    id: int
    tokens: list[int]
    sampling: Sampling
    max_tokens: int
    """At least 1."""
    min_tokens: int = 0
    """Stop tokens are not drawn before the answer has this many."""
    stop_tokens: list[int] = []
    """Drawing one of these ends the answer; it is not reported."""
    timeout_s: float | None = None
    client: int = 0
    """Whose request it is, by a number of the service's own: time is shared out between clients."""
    weight: float = 1.0
    """The client's share relative to others'; above 0."""
    priority: Priority = "normal"
    """"high" comes before the same client's others; "low" gives way to everybody."""
    salt: int = 0
    """Prefixes are shared between requests of the same salt."""
    public_tokens: int = 0
    """This many tokens at the beginning are no secret: they are shared whatever the salt."""


class Embed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Turn these texts into vectors. Ends with exactly one `Embedded`, `Finished` or `Failed`."""

    id: int
    texts: list[list[int]]
    """Token ids; at least one text, and none empty or longer than the context."""
    client: int = 0
    """Whose request it is, as in `Generate`."""
    weight: float = 1.0
    """The client's share relative to others'; above 0."""


class Score(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Tell how likely each of these continues `tokens`. Ends with exactly one `Scored`, `Finished` or `Failed`."""

    id: int
    tokens: list[int]
    """The prefix, computed once; at least one id."""
    continuations: list[list[int]]
    """At least one, and none empty. The fields below are as in `Generate`."""
    client: int = 0
    weight: float = 1.0
    priority: Priority = "normal"
    salt: int = 0
    public_tokens: int = 0


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Stop this request, wherever it is: queued, in prefill or decoding. Unknown ids are ignored.

    `reason` is what its `Finished` will say: "stop" where the server saw a stop string.
    """

    id: int
    reason: FinishReason = "cancelled"


Command = Load | Generate | Embed | Score | Cancel

# ---- events: worker to server ---------------------------------------------------------------------


class Progress(msgspec.Struct, frozen=True, tag=True):
    """How far a load is, in bytes of the file."""

    done: int
    total: int


class Loaded(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The model is ready."""

    instruction_set: str
    threads: int
    weight_bytes: int
    kv_bytes: int
    work_bytes: int
    """Activations and logits of the largest step."""
    load_s: float


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """The model could not be loaded; the worker ends after this. `code`, `details`: those of `errors.py`."""

    code: str
    message: str
    details: dict[str, int | float | str] = {}


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one request."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class Timing(msgspec.Struct, frozen=True):
    """Where one request's time went, in seconds."""

    queue_s: float
    """From arrival to the first step that computed some of it."""
    prefill_s: float
    """From there to its first token."""
    decode_s: float
    """From there to its end."""


class Token(msgspec.Struct, frozen=True, tag=True):
    """One token of an answer; `logprob` and `top` only where asked for, natural logarithms."""

    id: int
    token: int
    logprob: float | None = None
    top: list[tuple[int, float]] | None = None


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The answer is complete, for this reason."""

    id: int
    reason: FinishReason
    usage: Usage
    timing: Timing


class Embedded(msgspec.Struct, frozen=True, tag=True):
    """The vectors of a request's texts, all of them."""

    id: int
    vectors: bytes
    """32-bit floats, little end first: a row for each text, in their order."""
    usage: Usage
    timing: Timing


class Scored(msgspec.Struct, frozen=True, tag=True):
    """How likely each of a request's continuations is, in their order."""

    id: int
    logprobs: list[float]
    """[continuations] sums of the natural log-probabilities of their tokens, each given all before it."""
    counts: list[int]
    """[continuations] how many tokens each has."""
    usage: Usage
    """Its prompt is the prefix and all continuations."""
    timing: Timing


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The request could not be served; `code` is that of `errors.py`."""

    id: int
    code: str
    message: str


class Waiting(msgspec.Struct, frozen=True):
    """A request that holds no pages yet, or none any more."""

    id: int
    client: int
    position: int
    """How many are expected to begin before it."""
    wait_s: float | None
    """Until its turn comes, as estimated from what was measured; None before anything was."""


class ClientLoad(msgspec.Struct, frozen=True):
    """What one client has of a model."""

    client: int
    running: int
    waiting: int
    prefill_tokens: int
    """Computed for it since the load."""
    decode_tokens: int
    """Drawn for it since the load."""
    counter: float
    """Its virtual token counter, on which its turn depends."""


class Stats(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The state of the engine after a step; sent at most a few times a second while there is work."""

    running: int
    waiting: int
    free_pages: int
    """Pages that hold nothing."""
    cached_pages: int
    """Pages that nobody uses but whose content may be asked for again; given away when pages are needed."""
    total_pages: int
    steps: int
    """Steps since the load."""
    prefill_tokens: int
    """Prompt tokens computed since the load."""
    decode_tokens: int
    """Tokens drawn since the load."""
    cached_tokens: int
    """Prompt tokens since the load that were found computed."""
    drafted_tokens: int
    """Tokens guessed ahead since the load."""
    accepted_tokens: int
    """Those of them that were drawn indeed."""
    preemptions: int
    """Times since the load that a running request had to give its pages back."""
    prefill_rate: float | None
    """Prompt tokens a second, as a step full of them takes now; None before one was seen."""
    decode_rate: float | None
    """Tokens drawn a second over the last seconds; None before any was."""
    step_s: float
    """How long the last step took."""
    budget_s: float
    """How long it should have taken at most."""
    step_seconds: float
    """How long all steps since the load took."""
    step_counts: list[int]
    """Steps since the load by how long they took: the classes of `STEP_BUCKETS_S`."""
    over_budget: int
    """Steps since the load that took more than 1.2 times their budget."""
    clients: list[ClientLoad]
    """Those with requests, and those served lately."""
    queue: list[Waiting]
    """In the order in which they are expected to begin."""


Event = Progress | Loaded | LoadFailed | Token | Finished | Embedded | Scored | Failed | Stats
