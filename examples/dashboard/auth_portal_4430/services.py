"""The services that the portal shows as tiles."""


def _tile(name, title, description, href, icon):
    return {
        "name": name,
        "title": title,
        "description": description,
        "href": href,
        "icon": icon,
        "status": "available",
    }


SERVICES = [
    _tile("frontend_3010", "Job dashboard", "Queues, nodes and usage at a glance.", "/dashboard/", "gauge"),
    _tile("kooCAEWeb_5173", "CAE workbench", "Upload, inspect and turn meshes.", "/cae/", "cube"),
    _tile("app_5174", "Automation", "Run simulation pipelines end to end.", "/app/", "flow"),
    _tile("vnc_service_8002", "Remote desktops", "A desktop next to your data.", "/vnc/", "desktop"),
    _tile("moonlight_frontend_8003", "Streaming", "Low-latency 3D sessions on GPU nodes.", "/moonlight/", "moon"),
    _tile("auth_portal_4431", "Account", "Your session and sign-in.", "/", "key"),
]
