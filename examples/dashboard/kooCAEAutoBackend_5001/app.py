"""CAE automation: pipelines read from a file beside the code, runs kept in SQLite."""

import json
import time
from pathlib import Path

from dotenv import load_dotenv
from flask import Flask, abort, jsonify
from flask_cors import CORS
from sqlalchemy import Column, Float, Integer, String, create_engine, select
from sqlalchemy.orm import Session, declarative_base

load_dotenv()

HERE = Path(__file__).parent
(HERE / "database").mkdir(exist_ok=True)
PIPELINES = {p["id"]: p for p in json.loads((HERE / "pipelines.json").read_text())}

Base = declarative_base()
engine = create_engine(f"sqlite:///{HERE / 'database' / 'runs.db'}", connect_args={"timeout": 10})


class Run(Base):
    __tablename__ = "run"
    id = Column(Integer, primary_key=True)
    pipeline = Column(String, nullable=False)
    began = Column(Float, nullable=False)

    def card(self):
        pipeline = PIPELINES[self.pipeline]
        part = min(1.0, max(0.0, (time.time() - self.began - 1) / pipeline["seconds"]))
        steps = pipeline["steps"]
        return {
            "id": self.id,
            "pipeline": self.pipeline,
            "title": pipeline["title"],
            "began": self.began,
            "progress": round(part, 3),
            "step": steps[min(int(part * len(steps)), len(steps) - 1)],
            "state": "queued" if part == 0 else "done" if part == 1 else "running",
        }


Base.metadata.create_all(engine)
engine.dispose()  # workers are forked next; a connection must not cross
app = Flask(__name__)
CORS(app)


@app.get("/health")
def health():
    return jsonify(status="ok", service="kooCAEAutoBackend_5001", version="1.0.0")


@app.get("/pipelines")
def pipelines():
    return jsonify(pipelines=list(PIPELINES.values()))


@app.post("/pipelines/<key>/run")
def start(key):
    if key not in PIPELINES:
        abort(404)
    with Session(engine) as session:
        run = Run(pipeline=key, began=time.time())
        session.add(run)
        session.commit()
        return jsonify(run.card()), 201


@app.get("/runs")
def runs():
    with Session(engine) as session:
        rows = session.scalars(select(Run).order_by(Run.id.desc()).limit(20)).all()
        return jsonify(runs=[r.card() for r in rows if r.pipeline in PIPELINES])
