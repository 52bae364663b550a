"""Usage figures and notes, in SQLite beside the code; a new file is filled with sample days."""

import os
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
from sqlalchemy import Column, Float, Integer, String, create_engine, select
from sqlalchemy.orm import Session, declarative_base

DATABASE = Path(__file__).parent / "database" / "dashboard.db"
Base = declarative_base()


class Usage(Base):
    __tablename__ = "usage"
    day = Column(String, primary_key=True)
    cpu_hours = Column(Float, nullable=False)
    gpu_hours = Column(Float, nullable=False)
    jobs = Column(Integer, nullable=False)


class Note(Base):
    __tablename__ = "note"
    id = Column(Integer, primary_key=True)
    text = Column(String, nullable=False)
    written = Column(String, nullable=False)


DATABASE.parent.mkdir(exist_ok=True)
engine = create_engine(f"sqlite:///{DATABASE}", connect_args={"timeout": 10})


def _sample_days(count):
    """Sample usage with a weekly rhythm, newest day last."""
    today = date.today()
    for back in range(count - 1, -1, -1):
        day = today - timedelta(days=back)
        busy = 0.35 if day.weekday() >= 5 else 1.0
        wave = 1 + 0.25 * ((day.toordinal() * 7919) % 17 - 8) / 8
        yield Usage(
            day=day.isoformat(),
            cpu_hours=round(4200 * busy * wave, 1),
            gpu_hours=round(310 * busy * wave * (0.8 + (day.toordinal() % 5) / 10), 1),
            jobs=int(180 * busy * wave),
        )


def prepare():
    """Make the tables, and fill an empty usage table."""
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        if session.scalar(select(Usage).limit(1)) is None:
            session.add_all(_sample_days(int(os.environ.get("USAGE_DAYS", "30"))))
            session.commit()
    engine.dispose()  # workers are forked next; a connection must not cross


def usage():
    """The usage table as a frame, one row per day."""
    return pd.read_sql("select * from usage order by day", engine)


def notes():
    with Session(engine) as session:
        rows = session.scalars(select(Note).order_by(Note.id.desc()).limit(20)).all()
        return [{"id": n.id, "text": n.text, "written": n.written} for n in rows]


def add_note(text):
    with Session(engine) as session:
        note = Note(text=text, written=datetime.now(timezone.utc).isoformat(timespec="seconds"))
        session.add(note)
        session.commit()
        return {"id": note.id, "text": note.text, "written": note.written}
