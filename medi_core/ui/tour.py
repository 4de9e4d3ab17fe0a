"""The guided tour: what it says at each step, and where it points. How it moves is in tour.js."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TourStep:
    """One step."""

    tab: str
    """Its name in a link, as in `ui/app.py`."""
    target: str
    """CSS selector of what is ringed; "" = the tab's own button, without opening it."""
    title: str
    text: str


STEPS = (
    TourStep(
        "generate",
        "#generate-gallery",
        "None of these tiles is real",
        "A model made them. It was told a cancer type, a center and a stain for each, and no patient is behind any of "
        "them. Click a tile to see what was asked for beside what was measured on it.",
    ),
    TourStep(
        "generate",
        "#generate-badge",
        "Ask for what you need",
        "Choose cancer type, center and stain. Here you read how many tiles and patients the model learned your choice "
        "from, and how far to trust it. You may ask for a pair that nobody has seen: ○ marks it.",
    ),
    TourStep(
        "generate",
        "#generate-button",
        "Make tiles",
        "A first sketch of the tiles gets sharper while you watch; Cancel stops it. The same seed makes the same tiles "
        "again, and “Copy link” sends your settings to somebody else.",
    ),
    TourStep(
        "compare",
        "#compare-button",
        "Change one thing, keep the rest",
        "Each cell of the grid starts from the same noise. What differs between two cells comes from the center or "
        "the stain that you changed, and from nothing else.",
    ),
    TourStep(
        "rerender",
        "#rerender-upload",
        "Bring a tile of your own",
        "See it as if another center had cut, stained and scanned it. It stays on this server and is not kept.",
    ),
    TourStep(
        "map",
        "#map-plot",
        "All tiles on one map",
        "Tiles that look alike to an image network lie together. Colour them by center: where centers form islands, a "
        "classifier can recognise the hospital.",
    ),
    TourStep(
        "fidelity",
        "#distance-plot",
        "How far to trust it",
        "Measured, not claimed: how far synthetic tiles are from real ones, whether they show what was asked for, and "
        "whether one looks like a copy of a training tile.",
    ),
    TourStep(
        "subgroups",
        "#audit-plot",
        "Who is served worst",
        "How often a classifier is right for each cancer type at each center, with patients and intervals. Upload the "
        "predictions of yours. “Experiment” tests whether synthetic tiles help.",
    ),
    TourStep(
        "augment",
        "#augment-said",
        "Fill the gaps",
        "Plan synthetic tiles for groups that have few, leave out those that cannot be trusted, and download the rest.",
    ),
    TourStep(
        "data",
        "",
        "Your own cohort",
        "In Data you upload tiles with a table, and map, audit and plan with them. In Review pathologists judge tiles "
        "blind. About has the model card and all words of this page. Words with dots below explain themselves.",
    ),
)
