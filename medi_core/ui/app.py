"""The app's table of contents: one line a tab."""

import gradio as gr

from medi_core.bootstrap import Services
from medi_core.data.safe_zip import MAX_ZIP_BYTES
from medi_core.ui.about_tab import build_about_tab
from medi_core.ui.api import MCP_OFF, build_api, has_mcp
from medi_core.ui.augment_tab import build_augment_tab
from medi_core.ui.compare_tab import build_compare_tab
from medi_core.ui.data_tab import build_data_tab
from medi_core.ui.embedding_tab import build_embedding_tab
from medi_core.ui.fidelity_tab import build_fidelity_tab
from medi_core.ui.generate_tab import build_generate_tab
from medi_core.ui.guarded_blocks import GuardedBlocks
from medi_core.ui.page_head import build_page_head
from medi_core.ui.rerender_tab import build_rerender_tab
from medi_core.ui.review_tab import build_review_tab
from medi_core.ui.shared import CACHE_SECONDS, Shared
from medi_core.ui.subgroup_tab import build_subgroup_tab

TITLE = "MeDi Explorer"
NOTICE = "Synthetic H&E tiles conditioned on cancer type, hospital and stain. For research only, not for diagnosis."
MCP_OFF_WITH_ACCOUNTS = (
    "MCP tools are off: with accounts (MEDI_AUTH) they would be listed to anybody and work for nobody"
)
TABS = {
    "generate": ("Generate", build_generate_tab),
    "compare": ("Compare", build_compare_tab),
    "rerender": ("Re-render", build_rerender_tab),
    "map": ("Map", build_embedding_tab),
    "fidelity": ("Fidelity", build_fidelity_tab),
    "subgroups": ("Subgroup accuracy", build_subgroup_tab),
    "augment": ("Augment", build_augment_tab),
    "review": ("Review", build_review_tab),
    "data": ("Data", build_data_tab),
    "about": ("About", build_about_tab),
}


def build_app(services: Services) -> GuardedBlocks:
    """All tabs around one set of services."""
    with GuardedBlocks(title=TITLE, delete_cache=(CACHE_SECONDS, CACHE_SECONDS), analytics_enabled=False) as app:
        build_page_head(TITLE, NOTICE)
        base_tile, compare_tile, map_tiles = gr.State(("", 0.0)), gr.State(("", 0.0)), gr.State([])
        own = [gr.State(None, time_to_live=CACHE_SECONDS) for _ in range(3)]
        generate_record, plan_cell = gr.State(({}, 0.0)), gr.State(({}, 0.0))
        # its children must be tabs only: the browser numbers them. On a phone no tab hides behind "…"
        with gr.Tabs(overflow_behavior="wrap") as tabs:
            shared = Shared(services, tabs, base_tile, compare_tile, map_tiles, *own, generate_record, plan_cell)
            for name, (label, build_tab) in TABS.items():
                with gr.Tab(label, id=name):
                    build_tab(shared)
        build_api(shared)
        app.load(_tab_in_link, None, tabs, api_visibility="private", show_progress="hidden")
    return app


def reason_without_mcp(services: Services) -> str:
    """Why the endpoints are no MCP tools; "" = they are. Gradio's MCP routes know no login."""
    if services.settings.auth.strip():
        return MCP_OFF_WITH_ACCOUNTS
    return "" if has_mcp() else MCP_OFF


def launch_options(services: Services) -> dict:
    """What Gradio 6 takes at launch rather than at build: looks, and whether the endpoints are MCP tools, too."""
    return {
        "theme": _theme(),
        "css_paths": services.settings.assets_dir / "style.css",
        "footer_links": ["api", "settings"],
        "mcp_server": not reason_without_mcp(services),
        "run_history": False,  # it would keep runs in the browser, and offers to send them elsewhere
        "show_error": True,
        "max_file_size": MAX_ZIP_BYTES,  # a single tile has a limit of its own
    }


def _theme() -> gr.themes.Base:
    """Gradio's own, a shade darker where its text has a contrast below 4.5."""
    plain = gr.themes.Default(primary_hue="violet", neutral_hue="slate", font=["system-ui", "sans-serif"])
    return plain.set(
        body_text_color_subdued="*neutral_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        color_accent="*primary_600",
    )


def _tab_in_link(request: gr.Request):
    name = request.query_params.get("tab")
    return gr.Tabs(selected=name) if name in TABS else gr.skip()
