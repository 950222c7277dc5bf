package disk
import ("testing";"context";"os";"fmt";"time")
func TestSmoke(t *testing.T){
 d:=t.TempDir(); ctx:=context.Background()
 if _,err:=os.Stat("/tmp/dk/src.tar.gz"); err!=nil {t.Skip()}
 for _,src:=range []string{"/tmp/dk/src","/tmp/dk/src.tar.gz"}{
 img:=fmt.Sprintf("%s/a%d",d,len(src))
 t0:=time.Now()
 if err:=Build(ctx,src,img,BuildOptions{});err!=nil{t.Fatal(err)}
 t.Log(src,time.Since(t0)); t0=time.Now()
 if err:=Check(ctx,img);err!=nil{t.Fatal(err)}
 t.Log("check",time.Since(t0)); t0=time.Now()
 if err:=Copy(ctx,img,img+"c");err!=nil{t.Fatal(err)}
 t.Log("copy",time.Since(t0)); t0=time.Now()
 if err:=Put(ctx,img+"c",[]File{{Path:"/etc/hosts",Content:[]byte("x"),Mode:0o600},{Path:"/a b/\"c\"/é",Content:[]byte("yy"),Mode:0o644,UID:7},{Path:"/etc/hosts",Mode:os.ModeSymlink,Link:"x y"},{Path:"/src",Mode:os.ModeDir|0o700,UID:70000}});err!=nil{t.Fatal(err)}
 t.Log("put",time.Since(t0)); t0=time.Now()
 b,err:=Get(ctx,img+"c","/a b/\"c\"/é"); t.Log(string(b),err,time.Since(t0)); t0=time.Now()
 if err:=Grow(ctx,img+"c",200<<20);err!=nil{t.Fatal(err)}
 t.Log("grow",time.Since(t0))
 if err:=Check(ctx,img+"c");err!=nil{t.Fatal(err)}
 }
}
