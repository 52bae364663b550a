"""nginx's configuration, tested by nginx itself."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from deploy import nginx
from deploy.errors import BadReleaseError
from deploy.layout import Layout
from deploy.release import WebServer
from deploy.release_file import load
from deploy.settings import Settings
from store.local import LocalStore
from tests.deploy.synthetic import Pages, Site, Tiny, free_ports, nginx_tree


def test_nginx_takes_what_is_rendered(web_site: Site) -> None:
    (port,) = free_ports(1)
    release = load(web_site.release(Tiny("alpha", port, route="/a/"), pages=(Pages("p", "x"),)))
    head = web_site.head()
    nginx.check(release, head.layout, head.settings)
    assert not list(head.layout.run_dir.glob("nginx-test*"))


def test_a_folder_with_blanks(tmp_path: Path) -> None:
    found = nginx_tree()
    if isinstance(found, str):
        pytest.skip(found)
    root = tmp_path.resolve() / "with some blanks"
    root.mkdir()
    with LocalStore.open(root / "store") as store:
        site = Site(root, store)
        head = site.head()
        release = load(site.release(Tiny("alpha", 5000)))
        (tree := root / "n").mkdir()
        (tree / "nginx").symlink_to(found / "usr/sbin/nginx")
        web = replace(release, web=WebServer(tree, tree / "nginx"))
        nginx.check(web, head.layout, head.settings)


def render(release_root: Path, settings: Settings, var: str = "/srv/var") -> str:
    layout = Layout(Path(var), Path("/srv/state"))
    release = load(release_root)
    return nginx.render(release, layout, settings, site=release.site_conf)


def test_ports_and_upstreams(web_site: Site) -> None:
    path = web_site.release(Tiny("alpha", 5000), Tiny("beta", 6000))
    text = render(path, Settings(port=9000, port_offset=7))
    assert "listen 127.0.0.1:9000;" in text
    assert "upstream sealift_alpha {\n        server 127.0.0.1:5007 " in text
    assert "upstream sealift_beta {\n        server 127.0.0.1:6007 " in text
    assert "mime.types" in text


def test_services_are_told_the_scheme_that_a_proxy_in_front_tells(web_site: Site) -> None:
    text = render(web_site.release(Tiny("alpha", 5000)), Settings())
    (told,) = re.findall(
        r"map \$http_x_forwarded_proto \$sealift_scheme \{(.*?)\}", text, re.DOTALL
    )
    (pattern,) = re.findall(r'"~\*(.*)" https;', told)
    assert "default $scheme;" in told
    for said, told_on in (("https", True), ("HTTPS, http", True), ("http, https", False)):
        assert (re.match(pattern, said, re.IGNORECASE) is not None) is told_on
    assert re.match(pattern, "https2") is None


@pytest.mark.parametrize("var", ["/srv/$host", "/srv/a;b", "/srv/{x}", '/srv/"q"', "/srv/a*"])
def test_paths_that_nginx_cannot_spell(web_site: Site, var: str) -> None:
    with pytest.raises(BadReleaseError):
        render(web_site.release(Tiny("alpha", 5000)), Settings(), var)


def test_the_revision_knows_every_difference(web_site: Site) -> None:
    layout = Layout(Path("/srv/var"), Path("/srv/state"))
    alpha = Tiny("alpha", 5000)
    one, again, routed, moved = (
        load(web_site.release(each))
        for each in (
            alpha,
            alpha.at("2.0"),
            replace(alpha, route="/a/"),
            replace(alpha, port=5001),
        )
    )
    seen = [nginx.revision(each, layout, Settings()) for each in (one, again, routed, moved)]
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3
    assert nginx.revision(one, layout, Settings(port=1)) not in seen
