"""Job dashboard backend: jobs and nodes from Slurm, usage from SQLite, notes, metrics."""

import io

from dotenv import load_dotenv
from flask import Flask, Response, jsonify, request
from flask_cors import CORS
from prometheus_client import CONTENT_TYPE_LATEST, Counter, generate_latest

import storage
from collectors import slurm

load_dotenv()

app = Flask(__name__)
CORS(app)
storage.prepare()
REQUESTS = Counter("dashboard_requests_total", "Requests answered", ["path"])


@app.after_request
def count(response):
    REQUESTS.labels(request.url_rule.rule if request.url_rule else "other").inc()
    return response


@app.get("/api/health")
def health():
    return jsonify(status="ok", service="backend_5010", version="1.0.0")


@app.get("/api/jobs")
def jobs():
    return jsonify(slurm.jobs())


@app.get("/api/nodes")
def nodes():
    return jsonify(slurm.nodes())


@app.get("/api/metrics/usage")
def usage():
    frame = storage.usage().rename(columns={"day": "date"})
    return jsonify(
        days=frame.to_dict("records"),
        total={key: round(float(frame[key].sum()), 1) for key in ("cpu_hours", "gpu_hours", "jobs")},
    )


@app.get("/api/reports/usage.png")
def report():
    from matplotlib.figure import Figure

    frame = storage.usage()
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(frame)), frame["cpu_hours"], color="#3b82f6")
    axes.set_ylabel("CPU hours")
    axes.set_xticks([0, len(frame) - 1], [frame["day"].iloc[0], frame["day"].iloc[-1]])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return Response(out.getvalue(), mimetype="image/png")


@app.get("/api/notes")
def notes():
    return jsonify(notes=storage.notes())


@app.post("/api/notes")
def add_note():
    text = str((request.get_json(silent=True) or {}).get("text", "")).strip()
    if not 0 < len(text) <= 500:
        return jsonify(error="A note has 1 to 500 characters."), 400
    return jsonify(storage.add_note(text)), 201


@app.get("/metrics")
def metrics():
    return Response(generate_latest(), mimetype=CONTENT_TYPE_LATEST)
